"""The texts of a program that GEPA changes: instructions, and descriptions of fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lmpipe.layouts import Layout, TwoStepLayout, layout_named
from lmpipe.modules.module import Predictor
from lmpipe.signatures.signature_spec import SignatureSpec
from lmpipe.state.program_state import PredictorState, ProgramState


@dataclass(frozen=True)
class Component:
    """A text: the instruction of a predictor, or the description of one of its fields.

    Args:
        path: of the predictor.
        field: the field's name; empty for the instruction.
    """

    path: str
    field: str = ""

    def __str__(self) -> str:
        return f"{self.path}.{self.field}" if self.field else self.path


@dataclass(frozen=True)
class Components:
    """The texts of a program that are changed, and how to read and write them in its states.

    Args:
        predictors: the program's predictors.
        every: the texts.
    """

    predictors: Mapping[str, Predictor]
    every: tuple[Component, ...]

    @staticmethod
    def of(predictors: Mapping[str, Predictor], start: ProgramState, *, fields: bool) -> Components:
        """List the instructions, and the descriptions of the fields that prompts tell."""
        found = []
        for path, predictor in predictors.items():
            found.append(Component(path))
            if fields:
                found += [Component(path, name) for name in _told(predictor.spec, start[path])]
        return Components(predictors, tuple(found))

    def text(self, state: ProgramState, component: Component) -> str:
        """Return a text as it is in a state."""
        learned = state[component.path]
        if not component.field:
            return learned.instruction
        if component.field in learned.descriptions:
            return learned.descriptions[component.field]
        return self._declared(component)

    def changed(self, state: ProgramState, texts: Mapping[Component, str]) -> ProgramState:
        """Return a state with other texts; a description as it is declared is not kept."""
        for component, text in texts.items():
            learned = state[component.path]
            if not component.field:
                learned = learned.replace(instruction=text)
            else:
                kept = {**learned.descriptions, component.field: text}
                if text == self._declared(component):
                    del kept[component.field]
                learned = learned.replace(descriptions=kept)
            state = state.update({component.path: learned})
        return state

    def differing(self, one: ProgramState, other: ProgramState) -> list[Component]:
        """List the texts that are not the same in two states."""
        return [item for item in self.every if self.text(one, item) != self.text(other, item)]

    def without_declared(self, start: ProgramState, state: ProgramState) -> ProgramState:
        """Return a state without the lines of the declared texts, which are those of the start."""
        texts = {}
        for item in self.every:
            declared = set(self.text(start, item).splitlines())
            lines = self.text(state, item).splitlines()
            kept = [line for line in lines if line not in declared]
            # A text that shares no line with the declared one is new already.
            texts[item] = "" if len(kept) == len(lines) else "\n".join(kept).strip()
        return self.changed(start, texts)

    def _declared(self, component: Component) -> str:
        spec = self.predictors[component.path].spec
        return next(field.desc for field in spec.fields if field.name == component.field)


def _told(spec: SignatureSpec, state: PredictorState) -> list[str]:
    """List the fields whose descriptions the layout of a state tells."""
    layout, form = layout_named(state.layout), spec.written
    declared = _prompt(layout, form)
    return [
        field.name
        for field in form.fields
        if _prompt(layout, form.described({field.name: f"{field.desc} (changed)"})) != declared
    ]


def _prompt(layout: Layout, form: SignatureSpec) -> object:
    asked = layout.extraction(form, "") if isinstance(layout, TwoStepLayout) else None
    return layout.system(form, ""), layout.tools(form), asked
