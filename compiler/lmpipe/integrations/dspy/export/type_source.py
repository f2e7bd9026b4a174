"""Types as Python source, for a file that needs neither the program nor lmpipe."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import math
import sys
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pydantic
from annotated_types import BaseMetadata
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from lmpipe.errors import ExportError

_BASIC = (str, int, float, bool, bytes, list, dict, set, frozenset, tuple)
_RESERVED = ("dspy", "pathlib", "load", "program")  # what the file imports or defines itself
_CONSTANTS = (str, int, float, bool, bytes, type(None))
# Bases of enums, the closest first.
_ENUM_BASES = {enum.StrEnum: "enum.StrEnum", enum.IntEnum: "enum.IntEnum"}
_MIXED_ENUM_BASES = (str, int, float)
# What pydantic notes in a class whose values are checked or written by code.
_CODE_OF_MODELS = (
    *("validators", "field_validators", "root_validators", "model_validators"),
    *("field_serializers", "model_serializers", "computed_fields"),
)


class TypeSources:
    """Writes types, and collects the imports and the classes that they need.

    Attributes:
        imports: the modules to import.
        classes: the source of each class by its name, those first on which others depend.
    """

    def __init__(self) -> None:
        self.imports: set[str] = set()
        self.classes: dict[str, str] = {}
        self._known: dict[str, type] = {}

    def takes(self, name: str) -> bool:
        """Whether a name in the file is that of a type, an import or the file's own."""
        imported = {module.partition(".")[0] for module in self.imports}
        return name in _RESERVED or name in imported or name in self._known

    def annotation(self, given: Any) -> str:
        """Write a type.

        Raises:
            ExportError: if it cannot be written without code of the program.
        """
        origin, args = get_origin(given), get_args(given)
        if given is None or given is type(None):
            return "None"
        if given is Any:
            return self._imported("typing", "Any")
        if origin is Literal:
            return f"{self._imported('typing', 'Literal')}[{', '.join(map(self.value, args))}]"
        if origin in (Union, types.UnionType):
            return " | ".join(self.annotation(item) for item in args)
        if origin is Annotated:
            items = [self.annotation(args[0]), *map(self._metadata, args[1:])]
            return f"{self._imported('typing', 'Annotated')}[{', '.join(items)}]"
        if origin is not None:
            items = ["..." if item is ... else self.annotation(item) for item in args]
            return f"{self.annotation(origin)}[{', '.join(items)}]"
        if isinstance(given, type):
            return self._class(given)
        raise ExportError(f"the type {given!r} cannot be written into a Python file")

    def value(self, given: Any) -> str:
        """Write a constant: a text, a number, a member of an enum, or a list or dict of them.

        Raises:
            ExportError: if it is something else.
        """
        if isinstance(given, enum.Enum):
            return f"{self._class(type(given))}.{given.name}"
        if type(given) is float and not math.isfinite(given):
            return f'float("{given}")'
        if type(given) in _CONSTANTS:
            return repr(given)
        if type(given) is list:
            return f"[{', '.join(map(self.value, given))}]"
        if type(given) is tuple and given:
            return f"({', '.join(map(self.value, given))},)"
        if type(given) is dict:
            pairs = (f"{self.value(key)}: {self.value(item)}" for key, item in given.items())
            return f"{{{', '.join(pairs)}}}"
        raise ExportError(f"the value {given!r:.100} cannot be written into a Python file")

    def factory(self, given: Any) -> str:
        """Write what makes a default.

        Raises:
            ExportError: if it is code of the program.
        """
        if given in _BASIC:
            return str(given.__name__)
        raise ExportError(f"the default that {given!r:.100} makes cannot be written into a file")

    def arguments(self, given: Mapping[str, Any]) -> str:
        """Write keyword arguments."""
        written = {
            name: self.factory(item) if name == "default_factory" else self.value(item)
            for name, item in given.items()
        }
        return ", ".join(f"{name}={text}" for name, text in written.items())

    def _imported(self, module: str, name: str) -> str:
        self.imports.add(module)
        return f"{module}.{name}"

    def _metadata(self, given: Any) -> str:
        if isinstance(given, FieldInfo):
            arguments = self.arguments(field_arguments(given))
            return f"{self._imported('pydantic', 'Field')}({arguments})"
        if isinstance(given, BaseMetadata) and type(given).__module__ == "annotated_types":
            return self._imported("annotated_types", repr(given))
        raise ExportError(f"the constraint {given!r:.100} cannot be written into a Python file")

    def _class(self, given: type) -> str:
        module = given.__module__.partition(".")[0]
        if given in _BASIC:
            return given.__name__
        if module == "lmpipe":
            raise ExportError(
                f"the type {given.__name__} is lmpipe's own, which DSPy does not have"
            )
        if module in sys.stdlib_module_names or module == "pydantic":
            return self._imported(given.__module__, given.__qualname__)
        name = given.__name__
        if name in _RESERVED:
            raise ExportError(f"the name {name} is one of the file's own: rename the type")
        if self._known.setdefault(name, given) is not given:
            raise ExportError(f"two types have the name {name}: rename one")
        if name not in self.classes:
            self.classes[name] = ""  # so that a class may refer to itself
            written = self._definition(given)
            del self.classes[name]
            self.classes[name] = written
        elif not self.classes[name]:
            return repr(name)  # inside of its own definition
        return name

    def _definition(self, given: Any) -> str:
        if issubclass(given, enum.Enum):
            return self._enum(given)
        if issubclass(given, pydantic.BaseModel):
            return self._model(given)
        if dataclasses.is_dataclass(given):
            return self._dataclass(given)
        raise ExportError(
            f"the type {given.__name__} cannot be written into a Python file: only enums, pydantic "
            "models and dataclasses can"
        )

    def _enum(self, given: type[enum.Enum]) -> str:
        mixed = next((base for base in _MIXED_ENUM_BASES if issubclass(given, base)), None)
        bases = next((text for base, text in _ENUM_BASES.items() if issubclass(given, base)), "")
        if not bases:
            bases = f"{mixed.__name__}, enum.Enum" if mixed else "enum.Enum"
        self.imports.add("enum")
        members = [f"{name} = {self.value(item.value)}" for name, item in given.__members__.items()]
        return _class_source(given, bases, members)

    def _model(self, given: type[pydantic.BaseModel]) -> str:
        code = given.__pydantic_decorators__
        if issubclass(given, pydantic.RootModel) or any(getattr(code, n) for n in _CODE_OF_MODELS):
            raise ExportError(
                f"the model {given.__name__} has code of its own (validators, serializers or "
                "computed fields), which cannot be written into a Python file"
            )
        lines = []
        if given.model_config:
            config = self.arguments(dict(given.model_config))
            lines.append(f"model_config = {self._imported('pydantic', 'ConfigDict')}({config})")
        for name, field in given.model_fields.items():
            declared = f"{name}: {self.annotation(field.annotation)}"
            arguments = self.arguments(field_arguments(field))
            if arguments:
                declared += f" = {self._imported('pydantic', 'Field')}({arguments})"
            lines.append(declared)
        return _class_source(given, self._imported("pydantic", "BaseModel"), lines)

    def _dataclass(self, given: Any) -> str:
        self.imports.add("dataclasses")
        annotations = inspect.get_annotations(given, eval_str=True)
        lines = []
        for field in dataclasses.fields(given):
            declared = f"{field.name}: {self.annotation(annotations.get(field.name, field.type))}"
            if field.default is not dataclasses.MISSING:
                declared += f" = {self.value(field.default)}"
            elif field.default_factory is not dataclasses.MISSING:
                made = self.factory(field.default_factory)
                declared += f" = dataclasses.field(default_factory={made})"
            lines.append(declared)
        frozen = "(frozen=True)" if given.__dataclass_params__.frozen else ""
        return f"@dataclasses.dataclass{frozen}\n{_class_source(given, '', lines)}"


def field_arguments(field: FieldInfo) -> dict[str, Any]:
    """Return the arguments that make a field of pydantic: default, description, constraints.

    Raises:
        ExportError: if it has a constraint that is code.
    """
    found: dict[str, Any] = {}
    if field.default is not PydanticUndefined:
        found["default"] = field.default
    if field.default_factory is not None:
        found["default_factory"] = field.default_factory
    for name in ("alias", "title", "description", "discriminator", "examples"):
        if (given := getattr(field, name)) is not None:
            found[name] = given
    for item in field.metadata:
        named = vars(item) if hasattr(item, "__dict__") else dataclasses.asdict(item)
        if not named or not all(type(value) in _CONSTANTS for value in named.values()):
            raise ExportError(f"the constraint {item!r:.100} cannot be written into a Python file")
        found |= named
    return found


def text_source(text: str, indent: str) -> str:
    """Write a text as a docstring."""
    plain = text.replace("\\", "\\\\").replace('"""', r"\"\"\"")
    if plain.endswith('"'):
        plain = f'{plain[:-1]}\\"'
    lines = plain.split("\n")
    inner = "\n".join([lines[0], *(f"{indent}{line}" if line else "" for line in lines[1:])])
    return f'"""{inner}\n{indent}"""' if len(lines) > 1 else f'"""{inner}"""'


def _class_source(given: type, bases: str, lines: list[str]) -> str:
    doc = given.__dict__.get("__doc__") or ""
    if dataclasses.is_dataclass(given) and doc.startswith(f"{given.__name__}("):
        doc = ""  # that every dataclass has
    body = [text_source(inspect.cleandoc(doc), "    "), ""] if doc else []
    body += lines or ([] if body else ["pass"])
    head = f"class {given.__name__}({bases}):" if bases else f"class {given.__name__}:"
    return "\n".join([head, *(f"    {line}" if line else "" for line in body)])
