"""The outputs of DSPy's predictors while the LM writes them, in the forms of DSPy's adapters."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import dspy
from dspy.adapters.utils import parse_value

from lmpipe.integrations.dspy.adapters import configured_adapter
from lmpipe.layouts import layout_named
from lmpipe.layouts.layout import Layout, Part
from lmpipe.lm.scope import current_scope
from lmpipe.modules.stream import FieldReader
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec

if TYPE_CHECKING:
    from lmpipe.integrations.dspy.learned import LearnedPredictor

_HEADER = re.compile(r"\[\[ ## (\w+) ## \]\]")
_HEADER_START = "[[ ## "


@dataclass(frozen=True)
class DSPyForm:
    """How a reply to one of DSPy's adapters holds the outputs, as far as it has arrived.

    Args:
        name: `chat`, `json`, `xml`, or `free` for a text in which no outputs can be told apart.
    """

    name: str

    @staticmethod
    def of(adapter: Any) -> DSPyForm:
        """The form of an adapter."""
        for kind, name in ((dspy.JSONAdapter, "json"), (dspy.XMLAdapter, "xml")):
            if isinstance(adapter, kind):
                return DSPyForm(name)
        return DSPyForm("chat" if isinstance(adapter, dspy.ChatAdapter) else "free")

    def tools(self, spec: SignatureSpec) -> tuple[()]:
        """DSPy's adapters do not read outputs from tool calls."""
        return ()

    def partial(self, spec: SignatureSpec, text: str) -> dict[str, Part]:
        """Find the outputs in the beginning of a reply."""
        if self.name == "free":
            return {}
        if self.name != "chat":
            return layout_named(self.name).partial(spec, text)
        head, newline, last = text.rpartition("\n")
        sections, names = dict[str, list[str]](), spec.output_names
        current: list[str] = []  # what stands before the first header
        for line in (head if _may_become_header(last) else head + newline + last).splitlines():
            if found := _HEADER.match(line.strip()):
                current = []
                if found[1] in names:
                    current = sections.setdefault(found[1], current)
                current.append(line.strip()[found.end() :].strip())
            else:
                current.append(line)
        return {name: Part("\n".join(lines).strip()) for name, lines in sections.items()}


class DSPyFieldReader(FieldReader):
    """Tells what happens in one use of a predictor, whose replies DSPy reads."""

    def __init__(self, learned: LearnedPredictor, listener: Any) -> None:
        self._form_now = DSPyForm.of(configured_adapter())
        super().__init__(learned.spec, cast("Layout", self._form_now), learned.path, listener)

    def asks_again(self) -> None:
        """Expect another reply: DSPy's chat adapter asks for JSON if it cannot read the first."""
        self._form_now = DSPyForm("json" if self._form_now.name == "chat" else self._form_now.name)
        self.ask_again("the reply could not be read")
        self.reads(self._form, cast("Layout", self._form_now))

    def _typed(self, field: FieldSpec, part: Part) -> Any:
        value = json.loads(part.text) if part.form == "json" else part.text
        try:
            return parse_value(value, field.annotation)
        except TypeError as error:
            raise ValueError(str(error)) from error


def reader_of(learned: LearnedPredictor) -> DSPyFieldReader | None:
    """Return what streams the outputs of a use, if somebody listens."""
    listener = current_scope().listener
    if listener is None or not learned.path:
        return None
    return DSPyFieldReader(learned, listener)


def _may_become_header(line: str) -> bool:
    """Whether the last line so far may be a header when it is whole."""
    start = line.lstrip()
    return _HEADER_START.startswith(start) or (
        start.startswith(_HEADER_START) and _HEADER.match(start) is None
    )
