"""`Signature`: what a predictor takes, what it gives, and the instruction, as a pydantic model.

A signature is written as a class, or as a string by `signature_from_string`. Either way its
`SignatureSpec` is what the rest of the library reads.
"""

from __future__ import annotations

import inspect
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    TypeVar,
    dataclass_transform,
)

import pydantic
from pydantic._internal._model_construction import ModelMetaclass

from lmpipe.errors import SignatureError
from lmpipe.signatures.signature_spec import (
    DIRECTION,
    FieldSpec,
    SignatureSpec,
    first_line,
    type_name,
)


def Input(*, desc: str = "", **options: Any) -> Any:  # noqa: N802 - reads like pydantic's Field
    """Declare an input field of a signature.

    Args:
        desc: what the field holds, for the LM to read.
        options: anything that `pydantic.Field` takes, such as `max_length=200` or `default=None`.
    """
    return _field("input", desc, options)


def Output(  # noqa: N802
    *, desc: str = "", init: Literal[False] = False, **options: Any
) -> Any:
    """Declare an output field of a signature.

    Args:
        desc: what the field holds, for the LM to read.
        init: for type checkers only: an output is no argument of a call.
        options: anything that `pydantic.Field` takes; constraints such as `ge=0` are checked.
    """
    return _field("output", desc, options)


def _field(direction: str, desc: str, options: dict[str, Any]) -> Any:
    extra = options.pop("json_schema_extra", None) or {}
    return pydantic.Field(
        description=desc or None,
        json_schema_extra={**extra, DIRECTION: direction},
        **options,
    )


@dataclass_transform(kw_only_default=True, field_specifiers=(Input, Output))
class SignatureMeta(ModelMetaclass):
    """Lets type checkers see a signature's inputs as the arguments of its predictors."""


class Signature(pydantic.BaseModel, metaclass=SignatureMeta):
    """The base of all signatures; the docstring of a subclass is its instruction.

    Raises:
        SignatureError: when the spec of a wrongly declared subclass is first needed.
    """

    model_config = pydantic.ConfigDict(frozen=True, arbitrary_types_allowed=False)

    if TYPE_CHECKING:
        # Results of ChainOfThought have it; see `modules/chain_of_thought.py`.
        reasoning: str = Output()

    if not TYPE_CHECKING:
        # Checkers must not see this, or misspelled fields would pass.
        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                return super().__getattr__(name)
            hint = "; only ChainOfThought gives it" if name == "reasoning" else ""
            raise AttributeError(
                f"{type(self).__name__} has no field {name!r}{hint}; "
                f"it has {', '.join(type(self).model_fields)}"
            )


class Prediction(Signature):
    """A result whose fields only run time knows: of a signature that was written as a string."""

    if TYPE_CHECKING:
        # Or a result that has any field would pass for a coroutine.
        __await__: ClassVar[None]

        def __getattr__(self, name: str) -> Any: ...


S = TypeVar("S", bound=Signature)


def spec_of(signature: type[Signature]) -> SignatureSpec:
    """Read a signature class; the result is kept with the class.

    Raises:
        SignatureError: if a field has no direction, or inputs or outputs are missing.
    """
    spec = signature.__dict__.get("__lmpipe_spec__")
    if spec is None:
        spec = _read_spec(signature)
        type.__setattr__(signature, "__lmpipe_spec__", spec)
    return spec


def plain(value: Any) -> Any:
    """Turn what a program returned into JSON; a signature instance gives its outputs."""
    from pydantic_core import to_jsonable_python

    if isinstance(value, Signature):
        spec = spec_of(type(value))
        return {field.name: field.dump(getattr(value, field.name)) for field in spec.outputs}
    return to_jsonable_python(value, fallback=str)


def _read_spec(signature: type[Signature]) -> SignatureSpec:
    inputs: list[FieldSpec] = []
    outputs: list[FieldSpec] = []
    if not signature.__pydantic_complete__:
        _complete(signature)
    for name, info in signature.model_fields.items():
        extra = info.json_schema_extra
        direction = extra.get(DIRECTION) if isinstance(extra, dict) else None
        if direction is None:
            raise SignatureError(
                f"{signature.__name__}.{name} is neither input nor output: "
                f"declare it as `{name}: {type_name(info.annotation)} = lmpipe.Input()` "
                "or `lmpipe.Output()`"
            )
        if info.alias or info.validation_alias:
            raise SignatureError(
                f"{signature.__name__}.{name} has an alias: give the field the name that the LM "
                "shall see"
            )
        field = FieldSpec(name, info.annotation, info.description or "", info)
        (inputs if direction == "input" else outputs).append(field)
    if not inputs or not outputs:
        missing = "input" if not inputs else "output"
        raise SignatureError(
            f"{signature.__name__} has no {missing} field: a signature needs at least one "
            "lmpipe.Input() and one lmpipe.Output()"
        )
    if len({field.name.casefold() for field in outputs}) < len(outputs):
        raise SignatureError(
            f"{signature.__name__} has outputs that differ by upper and lower case only, which "
            "LMs mix up: rename one"
        )
    if signature.__dict__.get("__lmpipe_reasoning__"):
        outputs.sort(key=lambda field: field.name != "reasoning")
    return SignatureSpec(
        signature.__name__, instruction_of(signature), tuple(inputs), tuple(outputs)
    )


def _complete(signature: type[Signature]) -> None:
    try:
        signature.model_rebuild()
    except (pydantic.errors.PydanticUserError, NameError) as error:
        raise SignatureError(f"{signature.__name__}: {first_line(error)}") from error


def instruction_of(signature: type[Signature]) -> str:
    """A signature's docstring, or a plain sentence made of its field names."""
    doc = signature.__dict__.get("__doc__")
    if doc:
        return inspect.cleandoc(doc)
    for base in signature.__mro__[1:]:
        if base in (Signature, Prediction):
            break
        if base.__dict__.get("__doc__"):
            return inspect.cleandoc(base.__dict__["__doc__"])
    named = {"input": [], "output": []}  # type: dict[str, list[str]]
    for name, info in signature.model_fields.items():
        extra = info.json_schema_extra
        if isinstance(extra, dict) and extra.get(DIRECTION) in named:
            named[str(extra[DIRECTION])].append(f"`{name}`")
    return f"Given {', '.join(named['input'])}, give {', '.join(named['output'])}."


def with_reasoning(signature: type[S]) -> type[S]:
    """A subclass that asks for `reasoning` before the other outputs."""
    if "reasoning" in signature.model_fields:
        return signature
    derived = pydantic.create_model(
        signature.__name__,
        __base__=signature,
        __module__=signature.__module__,
        __doc__=instruction_of(signature),
        reasoning=(str, Output(desc="the steps that lead to the answer")),
    )
    type.__setattr__(derived, "__lmpipe_reasoning__", True)
    return derived


def make_signature(
    name: str, instruction: str | None, fields: dict[str, Any], *, module: str = __name__
) -> type[Prediction]:
    """Make a signature class from its fields, given as `name: (type, Input() or Output())`.

    Raises:
        SignatureError: if a name or a type cannot be used.
    """
    for field in fields:
        if field.startswith("_") or (field.startswith("model_") and hasattr(Prediction, field)):
            raise SignatureError(
                f"{name}: {field!r} cannot be a field: pydantic uses names like it; rename it"
            )
    try:
        return pydantic.create_model(
            name, __base__=Prediction, __module__=module, __doc__=instruction, **fields
        )
    except (pydantic.errors.PydanticUserError, TypeError) as error:
        raise SignatureError(f"{name}: {first_line(error)}") from error
