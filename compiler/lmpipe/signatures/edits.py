"""Edits of signatures as new values: `RouteTicket.append("reason", lmpipe.Output())`.

An edited signature is a subclass of the original, so that its validators and methods stay. The
original does not change.
"""

# ruff: noqa: N805 - methods of a metaclass get a class

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar, get_origin

import pydantic
from pydantic._internal._model_construction import ModelMetaclass
from pydantic.fields import FieldInfo

from lmpipe.errors import SignatureError
from lmpipe.foundation.shorten import short_repr
from lmpipe.signatures.made_classes import made_once, remember_origin
from lmpipe.signatures.signature_spec import DIRECTION, first_line

if TYPE_CHECKING:
    from lmpipe.signatures.signature import Prediction, Signature

S = TypeVar("S", bound="Signature")
F = TypeVar("F", bound=Callable[..., Any])

_ORDER = "__lmpipe_order__"


class _OfDeclared:
    """A method of signature classes that have fields.

    The base classes seem to lack it, so that pydantic does not warn of a field of this name.
    """

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    def __get__(self, cls: Any, meta: type | None = None) -> Any:
        if cls is None:
            return self
        if not cls.__dict__.get("__pydantic_fields__"):
            raise AttributeError(f"{cls.__name__} has no fields to edit: declare a subclass")
        return self._method.__get__(cls, meta)


def _of_declared(method: F) -> F:
    return _OfDeclared(method)  # type: ignore[return-value]


class EditableMeta(ModelMetaclass):
    """The methods by which signature classes are edited."""

    @_of_declared
    def with_instruction(cls: type[S], instruction: str) -> type[S]:  # type: ignore[misc]
        """Make a signature with another instruction.

        Raises:
            SignatureError: if it is not a text, or empty.
        """
        if not isinstance(instruction, str) or not instruction.strip():
            raise SignatureError(
                f"{cls.__name__}.with_instruction({short_repr(instruction, 100)}): give a text "
                "that says what the LM should do"
            )
        made: type[S] = edited(cls, Edit(instruction=instruction))
        return made

    @_of_declared
    def append(cls: Any, name: str, field: Any, annotation: Any = str) -> type[Prediction]:
        """Make a signature with one more field, the last of the inputs or of the outputs.

        Args:
            name: of the field.
            field: `lmpipe.Input()` or `lmpipe.Output()`, with any options.
            annotation: the type of the field.

        Raises:
            SignatureError: if there is a field of that name, or it cannot be one.
        """
        return _inserted(cls, "append", -1, name, field, annotation)

    @_of_declared
    def prepend(cls: Any, name: str, field: Any, annotation: Any = str) -> type[Prediction]:
        """Make a signature with one more field, the first of the inputs or of the outputs.

        The arguments and errors are those of `append`.
        """
        return _inserted(cls, "prepend", 0, name, field, annotation)

    @_of_declared
    def insert(
        cls: Any, index: int, name: str, field: Any, annotation: Any = str
    ) -> type[Prediction]:
        """Make a signature with one more field at a position among the inputs or the outputs.

        Args:
            index: the position that it gets, from 0; -1 is the last one.
            name: of the field.
            field: `lmpipe.Input()` or `lmpipe.Output()`, with any options.
            annotation: the type of the field.

        Raises:
            SignatureError: if there is a field of that name, it cannot be one, or the position is
                out of range.
        """
        return _inserted(cls, "insert", index, name, field, annotation)

    @_of_declared
    def delete(cls: Any, name: str) -> type[Prediction]:
        """Make a signature without one of the fields.

        Raises:
            SignatureError: if there is no field of that name, or a validator needs it.
        """
        _check_known(cls, "delete", name)
        kept = tuple(key for key in ordered_fields(cls) if key != name)
        made: type[Prediction] = edited(cls, Edit(deleted=name, order=kept))
        return made

    @_of_declared
    def with_field(
        cls: Any, name: str, field: Any = None, *, annotation: Any = None, desc: str | None = None
    ) -> type[Prediction]:
        """Make a signature in which one of the fields is declared differently, in its place.

        Args:
            name: of the field.
            field: `lmpipe.Input()` or `lmpipe.Output()` to declare it anew; None keeps what is
                not changed by the other arguments.
            annotation: another type; None keeps the type.
            desc: another description; None keeps it.

        Raises:
            SignatureError: if there is no field of that name, or it cannot have that type.
        """
        _check_known(cls, "with_field", name)
        known = cls.model_fields[name]
        kind: Any = known.annotation if annotation is None else annotation
        if field is None:
            kind = Annotated[kind, known]
        else:
            _direction(cls, "with_field", name, field)
        if desc is not None:
            kind = Annotated[kind, pydantic.Field(description=desc)]
        edit = Edit(name=name, kind=kind, field=field, order=tuple(ordered_fields(cls)))
        made: type[Prediction] = edited(cls, edit)
        return made


@dataclass(frozen=True, eq=False)
class Edit:
    """One edit of a signature: a field that is new or declared anew, one less, or an instruction.

    Args:
        name: of the field that is new or declared anew; empty if there is none.
        kind: its type; it says all of a field that keeps a part of its declaration.
        field: what `Input` or `Output` made, or None.
        deleted: the name of the field that goes, or empty.
        order: all fields in their new order; None leaves it.
        instruction: the new one; empty keeps the old one.
    """

    name: str = ""
    kind: Any = None
    field: FieldInfo | None = None
    deleted: str = ""
    order: tuple[str, ...] | None = None
    instruction: str = ""


def edited(signature: type[S], edit: Edit) -> Any:
    """Make a subclass of a signature by an edit; equal edits give one class.

    Raises:
        SignatureError: if pydantic cannot make it.
    """
    from lmpipe.signatures.signature import Prediction

    def make() -> type[S]:
        complete(signature)
        namespace: dict[str, Any] = {"__module__": signature.__module__, "__annotations__": {}}
        if edit.instruction:
            namespace["__doc__"] = edit.instruction
        if edit.name:
            namespace["__annotations__"][edit.name] = edit.kind
        if edit.field is not None:
            namespace[edit.name] = edit.field
        if edit.deleted:
            namespace["__annotations__"][edit.deleted] = ClassVar[Any]  # pydantic's way
        plain = edit.instruction or issubclass(signature, Prediction)
        bases = (signature,) if plain else (signature, Prediction)
        try:
            metaclass: Any = type(signature)
            made: type[S] = metaclass(signature.__name__, bases, namespace)
        except (pydantic.errors.PydanticUserError, TypeError) as error:
            raise SignatureError(f"{signature.__name__}: {first_line(error)}") from error
        if edit.order is not None:
            set_order(made, edit.order)
        remember_origin(made, lambda: (edited, (signature, edit)))
        return made

    # Types that are equal may differ in the order of their choices, which prompts show, and others
    # may have the same name. What pydantic adds to a type cannot be hashed.
    bare = edit.kind.__origin__ if get_origin(edit.kind) is Annotated else edit.kind
    field = (edit.name, bare, repr((edit.kind, edit.field)))
    return made_once((edited, signature, field, edit.deleted, edit.order, edit.instruction), make)


def complete(signature: type[Signature]) -> None:
    """Resolve the annotations of a signature class.

    Raises:
        SignatureError: if one cannot be resolved.
    """
    if not signature.__pydantic_complete__:
        try:
            signature.model_rebuild()
        except (pydantic.errors.PydanticUserError, NameError) as error:
            raise SignatureError(f"{signature.__name__}: {first_line(error)}") from error


def set_order(signature: type[Signature], names: Sequence[str]) -> None:
    """Say in which order a signature has its fields, if that is not the order of declaration."""
    type.__setattr__(signature, _ORDER, tuple(names))


def ordered_fields(signature: type[Signature]) -> dict[str, FieldInfo]:
    """Return the fields of a signature by name, in order."""
    fields = signature.model_fields
    order: Sequence[str] = getattr(signature, _ORDER, ())
    return {name: fields[name] for name in dict.fromkeys([*order, *fields]) if name in fields}


def _inserted(
    signature: Any, method: str, index: int, name: str, field: Any, annotation: Any
) -> type[Prediction]:
    owner = signature.__name__
    direction = _direction(signature, method, name, field)
    complete(signature)
    fields = ordered_fields(signature)
    if name in fields:
        raise SignatureError(
            f"{owner}.{method}({name!r}): there is a field of this name; change it with "
            f"with_field({name!r}, …)"
        )
    check_name(owner, name)
    side = [key for key, info in fields.items() if direction_of(info) == direction]
    if isinstance(index, bool) or not isinstance(index, int) or not -1 <= index <= len(side):
        raise SignatureError(
            f"{owner}.{method}({name!r}): the position {index!r} is out of range; {owner} has "
            f"{len(side)} {direction}s, so give 0 to {len(side)}, or -1 for the last position"
        )
    side.insert(len(side) if index == -1 else index, name)
    others = [key for key, info in fields.items() if direction_of(info) != direction]
    edit = Edit(name=name, kind=annotation, field=field, order=(*others, *side))
    made: type[Prediction] = edited(signature, edit)
    return made


def check_name(owner: str, name: object) -> None:
    """Check that a name can be that of a field.

    Raises:
        SignatureError: if it cannot.
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise SignatureError(f"{owner}: {name!r} cannot be a field: give a Python name")
    if name.startswith("_") or (name.startswith("model_") and hasattr(pydantic.BaseModel, name)):
        raise SignatureError(
            f"{owner}: {name!r} cannot be a field: pydantic reserves such names; rename it"
        )


def direction_of(info: object) -> str | None:
    """Return `input` or `output`; None for what neither `Input` nor `Output` declared."""
    extra = getattr(info, "json_schema_extra", None)
    found = extra.get(DIRECTION) if isinstance(extra, dict) else None
    return found if isinstance(found, str) else None


def _direction(signature: Any, method: str, name: str, field: Any) -> str:
    direction = direction_of(field)
    if not isinstance(field, FieldInfo) or direction is None:
        raise SignatureError(
            f"{signature.__name__}.{method}({name!r}): the field is {short_repr(field, 100)}; give "
            "lmpipe.Input() or lmpipe.Output(), and the type as annotation"
        )
    return direction


def _check_known(signature: Any, method: str, name: str) -> None:
    complete(signature)
    if name not in signature.model_fields:
        raise SignatureError(
            f"{signature.__name__}.{method}({name!r}): there is no field of this name; it has "
            f"{', '.join(ordered_fields(signature)) or 'none'}"
        )
