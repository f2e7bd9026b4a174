"""`Signature`: what a predictor takes, what it gives, and the instruction, as a pydantic model.

A signature is written as a class, or as a string by `signature_from_string`. Either way its
`SignatureSpec` is what the rest of the library reads.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    TypeVar,
    dataclass_transform,
    get_type_hints,
)

import pydantic
from pydantic._internal._model_construction import ModelMetaclass
from pydantic.fields import FieldInfo

from lmpipe.canonical import canonical_json, digest
from lmpipe.errors import CallError, SignatureError
from lmpipe.shape import Shape, sets_in_order, shape_of

_DIRECTION = "lmpipe"


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
        json_schema_extra={**extra, _DIRECTION: direction},
        **options,
    )


@dataclass(frozen=True)
class FieldSpec:
    """One field of a signature.

    Args:
        name: its Python name.
        annotation: its type, as declared.
        desc: what it holds, or the empty string.
        info: pydantic's own record of it.
    """

    name: str
    annotation: Any
    desc: str
    info: FieldInfo

    @property
    def required(self) -> bool:
        return self.info.is_required()

    @cached_property
    def adapter(self) -> pydantic.TypeAdapter[Any]:
        """Validates and dumps one value of this field, its constraints included."""
        constrained: Any = Annotated[self.annotation, self.info]
        return pydantic.TypeAdapter(constrained)

    @cached_property
    def type_name(self) -> str:
        """The type as people write it: `str`, `Literal['billing', 'shipping']`, `list[int]`."""
        return type_name(self.annotation)

    def dump(self, value: Any) -> Any:
        """Turn a value of this field into a JSON value."""
        if type(value) is str:
            return value
        dumped = self.adapter.dump_python(value, mode="json")
        return sets_in_order(dumped, self.schema) if self._has_sets else dumped

    def tidy(self, value: Any) -> Any:
        """Put the keys of a JSON value, which states keep sorted, back into declared order."""
        if self.shape.kind != "json":
            return value
        try:
            return self.dump(self.adapter.validate_python(value))
        except pydantic.ValidationError:
            return value

    @cached_property
    def _has_sets(self) -> bool:
        return b'"uniqueItems":true' in canonical_json(self.schema)

    @cached_property
    def shape(self) -> Shape:
        """How a value of this field is spelled in a prompt."""
        return shape_of(self.schema, self.annotation)

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of one value."""
        try:
            schema = self.adapter.json_schema()
        except pydantic.errors.PydanticUserError as error:
            raise SignatureError(
                f"field {self.name!r}: {self.type_name} has no JSON schema, so that an LM cannot "
                f"be asked for it: {first_line(error)}"
            ) from error
        return _without_marks(schema)


@dataclass(frozen=True)
class SignatureSpec:
    """All that the library needs to know of a signature, read off its class once.

    Args:
        name: the class's name.
        instruction: its docstring.
        inputs: input fields in the order in which they are shown.
        outputs: output fields in the order in which they are asked for.
    """

    name: str
    instruction: str
    inputs: tuple[FieldSpec, ...]
    outputs: tuple[FieldSpec, ...]

    def __str__(self) -> str:
        def side(fields: tuple[FieldSpec, ...]) -> str:
            return ", ".join(f"{field.name}: {field.type_name}" for field in fields)

        return f"{self.name}({side(self.inputs)}) -> ({side(self.outputs)})"

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.outputs)

    @cached_property
    def input_names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.inputs)

    @cached_property
    def output_schema(self) -> dict[str, Any]:
        """The JSON schema of an object with all outputs."""
        # Worked out together: types of one name from two modules need two definitions.
        schemas, shared = pydantic.TypeAdapter.json_schemas(
            (field.name, "validation", field.adapter) for field in self.outputs
        )
        properties = {
            field.name: _without_marks(schemas[field.name, "validation"]) for field in self.outputs
        }
        definitions = shared.get("$defs")
        schema = {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
        return {**schema, "$defs": definitions} if definitions else schema

    @cached_property
    def schema_hash(self) -> str:
        """Changes whenever a name, a type or the order of fields does: states are bound to it."""
        return digest(
            {
                "inputs": [[field.name, field.schema] for field in self.inputs],
                "outputs": [[field.name, field.schema] for field in self.outputs],
            }
        )

    def describe(self) -> dict[str, Any]:
        """The fields and their types by name, for manifests and readable differences."""
        return {
            "name": self.name,
            "inputs": {field.name: field.type_name for field in self.inputs},
            "outputs": {field.name: field.type_name for field in self.outputs},
            "schema_hash": self.schema_hash,
        }

    def check_inputs(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Validate the inputs of one call and fill in defaults.

        Raises:
            CallError: if one is missing, unknown or of another type; shows the signature.
        """
        unknown = [name for name in given if name not in self.input_names]
        required = [field.name for field in self.inputs if field.required]
        missing = [name for name in required if name not in given]
        if unknown or missing:
            raise CallError(self._mismatch(unknown, missing))
        values: dict[str, Any] = {}
        for field in self.inputs:
            if field.name not in given:
                values[field.name] = field.info.get_default(call_default_factory=True)
                continue
            value = given[field.name]
            if field.annotation is str and type(value) is str and not field.info.metadata:
                values[field.name] = value
                continue
            try:
                values[field.name] = field.adapter.validate_python(value)
            except pydantic.ValidationError as error:
                raise CallError(
                    f"{self.name}: input {field.name!r} must be {field.type_name}, "
                    f"got {value!r:.200}: {first_problem(error)}\n  signature: {self}"
                ) from error
        return values

    def _mismatch(self, unknown: list[str], missing: list[str]) -> str:
        problems = []
        if missing:
            problems.append(f"missing {', '.join(map(repr, missing))}")
        for name in unknown:
            hint = " (an output: the LM fills it in)" if name in self.output_names else ""
            problems.append(f"unknown {name!r}{hint}")
        return f"{self.name}: {'; '.join(problems)}\n  signature: {self}"


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


def _read_spec(signature: type[Signature]) -> SignatureSpec:
    inputs: list[FieldSpec] = []
    outputs: list[FieldSpec] = []
    if not signature.__pydantic_complete__:
        _complete(signature)
    for name, info in signature.model_fields.items():
        extra = info.json_schema_extra
        direction = extra.get(_DIRECTION) if isinstance(extra, dict) else None
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
        if isinstance(extra, dict) and extra.get(_DIRECTION) in named:
            named[str(extra[_DIRECTION])].append(f"`{name}`")
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


def signature_from_function(function: Callable[..., Any]) -> type[Prediction]:
    """Make the signature of a typed function: parameters in, its return value as `result` out.

    Raises:
        SignatureError: if a parameter or the return value has no annotation, or a type that no
            LM can be asked for.
    """
    name = function.__name__
    if inspect.iscoroutinefunction(function):
        raise SignatureError(f"{name}: write it with `def`, not `async def`; await `{name}.acall`")
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise SignatureError(f"{name}: an annotation cannot be resolved: {error}") from error
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise SignatureError(f"{name}: *args and **kwargs cannot be inputs; name each one")
        if parameter.name not in hints:
            raise SignatureError(f"{name}: parameter {parameter.name!r} needs a type annotation")
        if parameter.name == "result":
            raise SignatureError(f"{name}: 'result' is the name of the return value; rename it")
        default = {} if parameter.default is parameter.empty else {"default": parameter.default}
        fields[parameter.name] = (hints[parameter.name], Input(**default))
    if hints.get("return") in (None, type(None)):
        raise SignatureError(f"{name}: needs a return annotation: it is what the LM has to give")
    fields["result"] = (hints["return"], Output())
    return make_signature(name, function.__doc__, fields, module=function.__module__)


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


def type_name(annotation: Any) -> str:
    """A type as people write it, without module names."""
    if annotation is type(None):
        return "None"
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return annotation.__name__
    text = repr(annotation).replace("NoneType", "None")
    return _MODULE_OR_TEXT.sub(lambda match: match.group(1) or "", text)


_MODULE_OR_TEXT = re.compile(
    r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|\b(?:(?:[A-Za-z_]\w*|<locals>)\.)+(?=[A-Za-z_])"""
)


def _without_marks(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in schema.items() if key not in (_DIRECTION, "description")}


def first_line(error: Exception) -> str:
    """The first line of an error that goes on and on."""
    return str(error).partition("\n")[0]


def first_problem(error: pydantic.ValidationError) -> str:
    """The first complaint of a validation error in one line."""
    problem = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else problem["msg"]
