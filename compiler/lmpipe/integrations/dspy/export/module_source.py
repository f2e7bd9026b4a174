"""A program of lmpipe as a Python file of DSPy: its signatures, and its predictors by path."""

from __future__ import annotations

import keyword
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import dspy

from lmpipe.errors import ExportError
from lmpipe.integrations.dspy.demos import dspy_demo
from lmpipe.integrations.dspy.export.type_source import TypeSources, field_arguments, text_source
from lmpipe.integrations.dspy.lms import dspy_model
from lmpipe.modules.binding import Node
from lmpipe.modules.chain_of_thought import ChainOfThought
from lmpipe.modules.function import PredictFunction
from lmpipe.modules.module import Module
from lmpipe.modules.predict import Predict
from lmpipe.signatures.signature import REASONING
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec

STATE = "dspy_state.json"
_INDENT = "    "
_LONGEST = 100


@dataclass(frozen=True)
class DSPyPart:
    """A predictor of lmpipe, as a module of DSPy.

    Args:
        module: the module, with what was learned.
        source: the expression that makes it, without what was learned.
        signature: the source of its signature.
    """

    module: dspy.Module
    source: str
    signature: str

    @property
    def predictor(self) -> dspy.Predict:
        """What asks an LM."""
        found: dspy.Predict = dict(self.module.named_predictors()).popitem()[1]
        return found


class ModuleSource:
    """Writes a program as a Python file.

    Args:
        program: the program, bound to what was learned.

    Attributes:
        parts: its predictors as modules of DSPy, by their paths in lmpipe.
        paths: their paths in DSPy, by those in lmpipe.

    Raises:
        ExportError: if a module, a predictor's state or a type has no counterpart in DSPy.
    """

    def __init__(self, program: Module) -> None:
        self._program, self._types = program, TypeSources()
        self._names: dict[str, object] = {}
        self._modules: list[str] = []
        self.parts: dict[str, DSPyPart] = {}
        self.paths: dict[str, str] = {}
        # Types first: they keep their names, and no signature or module takes one of them.
        for write in (self._write_types, self._add_part):
            for path, predictor in program.predictors().items():
                try:
                    write(path, predictor)
                except ExportError as error:
                    raise ExportError(f"{path}: {error}") from error
        if not self.parts:
            raise ExportError("the program has no predictors, and so no prompts to export")
        self._made = self._expression(program, "", "")

    def text(self) -> str:
        """Return the file."""
        imports = _imports({"dspy", "pathlib", *self._types.imports})
        kind = type(self._program).__name__
        doc = (
            f'"""The predictors of the lmpipe program {kind}, as a module of DSPy.\n\n'
            "`load()` returns it with the instructions and demonstrations that were learned.\n"
            "DSPy's adapter writes the prompts in its own form: evaluate the module before you\n"
            'rely on a score.\n"""'
        )
        load = (
            "def load():\n"
            f'{_INDENT}"""Make the module, with what was learned."""\n'
            f"{_INDENT}program = {self._made}\n"
            f'{_INDENT}program.load(pathlib.Path(__file__).with_name("{STATE}"))\n'
            f"{_INDENT}return program"
        )
        signatures = [part.signature for part in self.parts.values()]
        classes = [*self._types.classes.values(), *dict.fromkeys(signatures), *self._modules]
        return "\n\n\n".join(["\n\n".join([doc, *imports]), *classes, load]) + "\n"

    def module(self) -> dspy.Module:
        """Return the parts in one module, whose state is the file's."""
        if list(self.parts) == ["self"]:
            return self.parts["self"].module
        return _Parts({self.paths[path]: part.predictor for path, part in self.parts.items()})

    def _write_types(self, _path: str, predictor: Any) -> None:
        if type(predictor) not in (Predict, ChainOfThought):
            raise ExportError(
                f"{type(predictor).__name__} has no counterpart in DSPy: export with --format "
                "messages or typescript"
            )
        _check_state(predictor)
        for field in predictor.spec.fields:
            self._types.annotation(field.annotation)

    def _add_part(self, path: str, predictor: Any) -> None:
        self.parts[path] = self._part(path, predictor)

    def _part(self, path: str, predictor: Any) -> DSPyPart:
        state, spec = (
            predictor.state_of(),
            predictor.spec.described(predictor.state_of().descriptions),
        )
        asked = spec
        thinks = _reasons_first(predictor)
        if thinks:
            asked = spec.without_output(REASONING)
        name = self._signature_name(asked, path)
        told = state.told
        declared = {
            field.name: (field.annotation, make(**_arguments(field)))
            for fields, make in ((asked.inputs, dspy.InputField), (asked.outputs, dspy.OutputField))
            for field in fields
        }
        signature: Any = dspy.Signature(declared, told)
        kind: Any = dspy.ChainOfThought if thinks else dspy.Predict
        module = kind(signature, **state.decoding)
        (inner,) = (item for _, item in module.named_predictors())
        if thinks:
            said = next(field.desc for field in spec.outputs if field.name == REASONING)
            inner.signature = inner.signature.with_updated_fields(REASONING, desc=said)
        inner.demos = [dspy_demo(predictor.spec, demo) for demo in state.demos]
        if state.lm is not None:
            inner.lm = dspy.LM(dspy_model(state.lm))
        settings = self._types.arguments(dict(state.decoding))
        arguments = ", ".join(text for text in (name, settings) if text)
        return DSPyPart(
            module,
            f"dspy.{kind.__name__}({arguments})",
            self._signature(name, asked, told),
        )

    def _signature_name(self, spec: SignatureSpec, path: str) -> str:
        """The name of a signature's class: its own, or else one made of the path."""
        words = [word for word in _identifier(path).split("_") if word]
        made = "".join(word[:1].upper() + word[1:] for word in words)
        usable = spec.name.isidentifier() and not keyword.iskeyword(spec.name)
        name = spec.name if usable else made or "Ask"
        return self._unused(name[0].upper() + name[1:], path)

    def _unused(self, name: str, owner: object) -> str:
        number, found = 1, name
        while self._types.takes(found) or self._names.setdefault(found, owner) != owner:
            number += 1
            found = f"{name}{number}"
        return found

    def _signature(self, name: str, spec: SignatureSpec, told: str) -> str:
        lines = [f"class {name}(dspy.Signature):", _INDENT + text_source(told, _INDENT), ""]
        for fields, kind in ((spec.inputs, "InputField"), (spec.outputs, "OutputField")):
            for field in fields:
                arguments = self._types.arguments(_arguments(field))
                declared = f"{field.name}: {self._types.annotation(field.annotation)}"
                lines.append(f"{_INDENT}{declared} = dspy.{kind}({arguments})")
        return "\n".join(lines)

    def _expression(self, value: Any, path: str, there: str) -> str:
        """The expression that makes what is at a path, and at another one in DSPy."""
        if part := self.parts.get(path or "self"):
            inner = "" if isinstance(part.module, dspy.Predict) else "predict"
            self.paths[path or "self"] = ".".join(filter(None, (there, inner))) or "self"
            return part.source
        if isinstance(value, dict | list | tuple) and there.endswith("]"):
            raise ExportError(f"{path}: DSPy does not find predictors in lists of lists")
        if isinstance(value, dict):
            held = {key: item for key, item in value.items() if self._leads(f"{path}[{key}]")}
            items = [
                f"{key!r}: " + self._expression(item, f"{path}[{key}]", f"{there}['{key}']")
                for key, item in held.items()
            ]
            return f"{{{', '.join(items)}}}"
        if isinstance(value, list | tuple):
            places = [f"[{place}]" for place in range(len(value))]
            if not all(self._leads(path + place) for place in places):
                raise ExportError(f"{path}: some of its items are not predictors")
            items = [
                self._expression(item, path + place, there + place)
                for place, item in zip(places, value, strict=True)
            ]
            return f"[{', '.join(items)}]"
        return f"{self._module_class(value, path, there)}()"

    def _leads(self, path: str) -> bool:
        """Whether a path is that of a predictor, or of something that holds one."""
        return any(at == path or at.startswith((f"{path}.", f"{path}[")) for at in self.parts)

    def _module_class(self, value: Any, path: str, there: str) -> str:
        """Write the class of a module; return its name."""
        if not isinstance(value, Node):
            raise ExportError(f"{path}: {type(value).__name__} cannot be a part of a DSPy module")
        own = type(value).__module__.partition(".")[0] == "lmpipe"
        if own and not isinstance(value, PredictFunction):
            raise ExportError(
                f"{path or 'the program'}: {type(value).__name__} has no counterpart in DSPy that "
                "asks the same: export with --format messages or typescript"
            )
        wanted = _identifier(getattr(value, "__name__", "") or type(value).__name__)
        name = self._unused(wanted, value)
        lines = [
            f"class {name}(dspy.Module):",
            f"{_INDENT}# Its `forward` is code: write it here, as it is in the lmpipe program.",
            f"{_INDENT}def __init__(self):",
            f"{_INDENT * 2}super().__init__()",
        ]
        for attribute, item in vars(value).items():
            at, at_there = (f"{where}.{attribute}".removeprefix(".") for where in (path, there))
            if self._leads(at):
                if hasattr(dspy.Module, attribute):
                    raise ExportError(
                        f"{at}: every module of DSPy has a {attribute} of another kind: rename it"
                    )
                made = self._expression(item, at, at_there)
                lines.append(f"{_INDENT * 2}self.{attribute} = {made}")
        self._modules.append("\n".join(lines))
        return name


class _Parts(dspy.Module):  # type: ignore[misc]
    """Predictors by path, of which DSPy writes a state."""

    def __init__(self, predictors: Mapping[str, dspy.Predict]) -> None:
        super().__init__()
        self._predictors = dict(predictors)

    def named_parameters(self) -> list[tuple[str, Any]]:
        return list(self._predictors.items())


def _imports(names: Collection[str]) -> list[str]:
    """Write imports: a block of the standard library's, and one of packages."""
    blocks: dict[bool, list[str]] = {True: [], False: []}
    for name in sorted(names):
        standard = name.partition(".")[0] in sys.stdlib_module_names
        blocks[standard].append(f"import {name}")
    return ["\n".join(block) for block in blocks.values() if block]


def _check_state(predictor: Predict[..., Any]) -> None:
    """Refuse what a state of DSPy has no place for."""
    state = predictor.state_of()
    if state.adapter is not None:
        raise ExportError(
            "it has a LoRA adapter, which DSPy's files have no place for: serve the adapter as a "
            "model (`lmpipe serve`), or export another run"
        )
    if state.retrieval is not None:
        raise ExportError(
            "it chooses demonstrations for each call, which DSPy's files have no place for: "
            "compile with fixed ones, as RandomSearch(retrieval_share=0) does"
        )


def _reasons_first(predictor: Any) -> bool:
    """Whether DSPy's `ChainOfThought` adds the same reasoning."""
    first, *others = predictor.spec.outputs
    free = first.takes_any_text and first.info.is_required()
    return type(predictor) is ChainOfThought and first.name == REASONING and free and bool(others)


def _arguments(field: FieldSpec) -> dict[str, Any]:
    """The arguments of DSPy's field."""
    described = {"desc": field.desc} if field.desc else {}
    given = {k: v for k, v in field_arguments(field.info).items() if k != "description"}
    return {**described, **given}


def _identifier(text: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in text)
