"""`Signature`: a predictor's inputs, outputs and instruction as a pydantic model.

A signature is written as a class, as a string (`from_string`) or as a typed function
(`from_function`). The rest of the library reads its `SignatureSpec`.
"""

from __future__ import annotations

import copyreg
import inspect
from collections.abc import Iterable
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, dataclass_transform

import pydantic
from pydantic.fields import FieldInfo

from lmpipe.errors import SignatureError
from lmpipe.foundation.checks import check_number
from lmpipe.signatures.edits import (
    EditableMeta,
    check_name,
    complete,
    direction_of,
    ordered_fields,
    set_order,
)
from lmpipe.signatures.field_types.parts import holds, is_medium
from lmpipe.signatures.made_classes import made_once, reduce_class, remember_origin
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
        desc: describes the field to the LM.
        options: anything that `pydantic.Field` takes, such as `max_length=200` or `default=None`.

    Raises:
        SignatureError: if a bound is not a valid number, or excludes every value.
    """
    return _field("input", desc, options)


def Output(  # noqa: N802
    *, desc: str = "", init: Literal[False] = False, **options: Any
) -> Any:
    """Declare an output field of a signature.

    Args:
        desc: describes the field to the LM.
        init: for type checkers only: calls do not take outputs as arguments.
        options: anything that `pydantic.Field` takes; constraints such as `ge=0` are checked.

    Raises:
        SignatureError: if a bound is not a valid number, or excludes every value.
    """
    return _field("output", desc, options)


def _field(direction: str, desc: str, options: dict[str, Any]) -> Any:
    _check_bounds(direction.capitalize(), options)
    extra = options.pop("json_schema_extra", None) or {}
    return pydantic.Field(
        description=desc or None,
        json_schema_extra={**extra, DIRECTION: direction},
        **options,
    )


def _check_bounds(owner: str, options: dict[str, Any]) -> None:
    """Check what pydantic accepts here but cannot use, or accepts although no value fits."""
    for name in ("ge", "gt", "le", "lt"):
        if options.get(name) != options.get(name):
            raise SignatureError(f"{owner}({name}=nan): {name} must be a number")
    for name in ("min_length", "max_length", "max_digits", "decimal_places"):
        if options.get(name) is not None:
            check_number(owner, name, options[name], minimum=0, integer=True, error=SignatureError)
    if options.get("multiple_of") is not None:
        check_number(owner, "multiple_of", options["multiple_of"], above=0, error=SignatureError)
    for low, high in (("min_length", "max_length"), *product(("ge", "gt"), ("le", "lt"))):
        least, most = options.get(low), options.get(high)
        if least is None or most is None:
            continue
        try:
            fits = least < most if high == "lt" or low == "gt" else least <= most
        except TypeError:
            fits = False
        if not fits:
            raise SignatureError(f"{owner}({low}={least!r}, {high}={most!r}): no value fits both")


# The output that ChainOfThought adds.
REASONING = "reasoning"


@dataclass_transform(kw_only_default=True, field_specifiers=(Input, Output))
class SignatureMeta(EditableMeta):
    """Makes type checkers see a signature's inputs as the arguments of its predictors."""

    if not TYPE_CHECKING:

        def __call__(cls, /, *values, **fields):  # noqa: N805 - a method of a metaclass
            if cls is not Prediction or not fields:
                return super().__call__(*values, **fields)
            return _prediction_of(tuple(fields)).model_construct(**fields)


copyreg.pickle(SignatureMeta, reduce_class)  # type: ignore[arg-type]


class Signature(pydantic.BaseModel, metaclass=SignatureMeta):
    """The base class of all signatures; the docstring of a subclass is its instruction.

    Raises:
        SignatureError: if a subclass is declared wrongly; raised when its spec is first used.
    """

    # What is known of a result beside its fields: the charges of its LM calls (see
    # `modules/result_usage.py`), the trajectory of the agent that gave it, and the LM's thoughts
    # before a step of an agent (`modules/agents/result_trajectory.py`). It is in slots, so that
    # results compare, print, copy and pickle without it.
    __slots__ = ("_charges", "_thoughts", "_trajectory")

    model_config = pydantic.ConfigDict(frozen=True, arbitrary_types_allowed=False)

    if TYPE_CHECKING:
        # Only results of ChainOfThought have it; see `modules/chain_of_thought.py`.
        reasoning: str = Output()

    def to_dict(self, *, inputs: bool = False) -> dict[str, Any]:
        """Return the outputs by name; with `inputs`, all fields."""
        return {
            name: getattr(self, name)
            for name, info in type(self).model_fields.items()
            if inputs or not _is_input(info)
        }

    def model_dump(self, *, inputs: bool = False, **options: Any) -> dict[str, Any]:
        """Return the outputs like pydantic's `model_dump`; with `inputs`, all fields."""
        return super().model_dump(**self._shown(options, inputs=inputs))

    def model_dump_json(self, *, inputs: bool = False, **options: Any) -> str:
        """Return the outputs like pydantic's `model_dump_json`; with `inputs`, all fields."""
        return super().model_dump_json(**self._shown(options, inputs=inputs))

    def _shown(self, options: dict[str, Any], *, inputs: bool) -> dict[str, Any]:
        """Leave the inputs out, unless the options for pydantic choose fields."""
        if inputs or options.get("include") is not None or options.get("exclude") is not None:
            return options
        fields = type(self).model_fields.items()
        return {**options, "exclude": {name for name, info in fields if _is_input(info)}}

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        # The caller knows the inputs, which may be long: a printed result has its outputs.
        yield from self.to_dict().items()

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
    """A result whose fields are known only at run time.

    It is that of a string signature, or what a program returns as `Prediction(answer=…, score=…)`,
    with outputs of any type.
    """

    if TYPE_CHECKING:
        # Otherwise a result, which has any field, would pass for a coroutine.
        __await__: ClassVar[None]

        def __init__(self, **fields: Any) -> None: ...

        def __getattr__(self, name: str) -> Any: ...


S = TypeVar("S", bound=Signature)


def spec_of(signature: type[Signature]) -> SignatureSpec:
    """Read a signature class; the spec is cached on the class.

    Raises:
        SignatureError: if a field has no direction, or outputs are missing.
    """
    spec = signature.__dict__.get("__lmpipe_spec__")
    if spec is None:
        spec = _read_spec(signature)
        type.__setattr__(signature, "__lmpipe_spec__", spec)
    return spec


def result_to_json(value: Any) -> Any:
    """Turn a program's result into JSON; a signature instance becomes an object of its outputs.

    What JSON cannot hold, such as bytes that are no text, becomes its representation.
    """
    import reprlib

    from pydantic_core import to_jsonable_python

    if isinstance(value, Signature):
        spec = spec_of(type(value))
        return {field.name: field.dump(getattr(value, field.name)) for field in spec.outputs}
    try:
        return to_jsonable_python(value, fallback=_as_plain)
    except (ValueError, RecursionError):
        return reprlib.repr(value)  # which is not deep either


def _as_plain(value: Any) -> Any:
    """Turn another kind of value into a dictionary if it knows how, as DSPy's results do."""
    to_dict = getattr(value, "toDict", None)
    return to_dict() if callable(to_dict) else str(value)


def _is_input(info: FieldInfo) -> bool:
    return direction_of(info) == "input"


def _read_spec(signature: type[Signature]) -> SignatureSpec:
    inputs: list[FieldSpec] = []
    outputs: list[FieldSpec] = []
    complete(signature)
    for name, info in ordered_fields(signature).items():
        direction = direction_of(info)
        if direction is None:
            raise SignatureError(
                f"{signature.__name__}.{name} is neither an input nor an output: "
                f"declare it as `{name}: {type_name(info.annotation)} = lmpipe.Input()` "
                "or `lmpipe.Output()`"
            )
        if info.alias or info.validation_alias:
            raise SignatureError(
                f"{signature.__name__}.{name} has an alias: give the field the name that the LM "
                "should see"
            )
        field = FieldSpec(name, info.annotation, info.description or "", info)
        if direction == "output":
            _check_output(signature.__name__, field)
        (inputs if direction == "input" else outputs).append(field)
    if not outputs:
        raise SignatureError(
            f"{signature.__name__} has no output field: a signature needs at least one "
            "lmpipe.Output()"
        )
    if len({field.name.casefold() for field in outputs}) < len(outputs):
        raise SignatureError(
            f"{signature.__name__} has outputs whose names differ only in case, which "
            "LMs mix up: rename one"
        )
    return SignatureSpec(
        signature.__name__, instruction_of(signature), tuple(inputs), tuple(outputs)
    )


def _check_output(owner: str, field: FieldSpec) -> None:
    """Raise a SignatureError for an output of which an LM, which writes text, has no values."""
    if field.is_history or holds(field.annotation, is_medium):
        raise SignatureError(
            f"{owner}.{field.name} is an output of the type {field.type_name}, but an LM replies "
            "with text: make it an input, or ask for text such as a description or a URL"
        )


def instruction_of(signature: type[Signature]) -> str:
    """Return a signature's docstring, or a plain sentence made of its field names."""
    for base in signature.__mro__:
        if base in (Signature, Prediction):
            break
        if base.__dict__.get("__doc__"):
            return inspect.cleandoc(base.__dict__["__doc__"])
    named: dict[str, list[str]] = {"input": [], "output": []}
    for name, info in ordered_fields(signature).items():
        if direction := direction_of(info):
            named[direction].append(f"`{name}`")
    given, wanted = (", ".join(named[direction]) for direction in ("input", "output"))
    return f"Given {given}, give {wanted}." if given else f"Give {wanted}."


def with_reasoning(signature: type[S]) -> type[S]:
    """Make a subclass that asks for `reasoning` before the other outputs."""
    if "reasoning" in signature.model_fields:
        return signature

    def make() -> type[S]:
        derived = pydantic.create_model(
            signature.__name__,
            __base__=signature,
            __module__=signature.__module__,
            __doc__=instruction_of(signature),
            reasoning=(str, Output(desc="the steps that lead to the answer")),
        )
        set_order(derived, ("reasoning", *ordered_fields(signature)))
        remember_origin(derived, lambda: (with_reasoning, (signature,)))
        return derived

    return made_once((with_reasoning, signature), make)


@lru_cache(maxsize=256)
def _prediction_of(names: tuple[str, ...]) -> type[Prediction]:
    """Return the class of results with these outputs, which programs make for every row."""
    return make_signature("Prediction", None, {name: (Any, Output()) for name in names})


def make_signature(
    name: str, instruction: str | None, fields: dict[str, Any], *, module: str = __name__
) -> type[Prediction]:
    """Make a signature class with fields `(type, Input() or Output())` by name.

    Raises:
        SignatureError: if a name or a type cannot be used.
    """
    for field in fields:
        check_name(name, field)

    def make() -> type[Prediction]:
        try:
            made = pydantic.create_model(
                name, __base__=Prediction, __module__=module, __doc__=instruction, **fields
            )
        except (pydantic.errors.PydanticUserError, TypeError) as error:
            raise SignatureError(f"{name}: {first_line(error)}") from error
        remember_origin(made, lambda: (_make_again, (name, instruction, fields, module)))
        return made

    # Types that are equal may differ in the order of their choices, which prompts show.
    described = tuple((field, kind, repr((kind, info))) for field, (kind, info) in fields.items())
    return made_once((name, instruction, module, described), make)


def _make_again(
    name: str, instruction: str | None, fields: dict[str, Any], module: str
) -> type[Prediction]:
    return make_signature(name, instruction, fields, module=module)
