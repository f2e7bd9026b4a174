"""`PromptEntry`: what a registry is told about one prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmpipe.compiling.run_folder import Artifact
from lmpipe.integrations.export.document import prompt_document, question_text
from lmpipe.integrations.export.recorded_calls import exportable_predictors
from lmpipe.layouts.parse_values import json_text
from lmpipe.modules.module import Module

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class PromptEntry:
    """One prompt for a registry.

    Args:
        name: its name there.
        messages: the turns, with `{{input}}` where the inputs of a call stand.
        document: the prompt as `lmpipe export --format messages` writes it.
        about: the run and its scores, as texts by name.
    """

    name: str
    messages: Sequence[Mapping[str, str]]
    document: Mapping[str, Any]
    about: Mapping[str, str]

    @property
    def request(self) -> Mapping[str, Any]:
        """The model, the decoding settings and the constraint, as a request has them."""
        found: Mapping[str, Any] = self.document["request"]
        return found

    @property
    def description(self) -> str:
        """One line about it, which names the run."""
        return f"compiled by lmpipe in the run {self.about['lmpipe.run']}"

    @staticmethod
    def of(document: Mapping[str, Any], artifact: Artifact, *, prefix: str) -> PromptEntry:
        """Make the entry of a predictor.

        Args:
            document: of its prompt.
            artifact: the run.
            prefix: of its name, before its path in the program.
        """
        name = _NOT_IN_NAMES.sub("-", f"{prefix}.{document['name']}").strip("-")
        return PromptEntry(name, _messages(document), document, run_metadata(artifact))


def prompt_entries(program: Module, artifact: Artifact, *, prefix: str = "") -> list[PromptEntry]:
    """Make the entries of all predictors of a program that a run learned.

    Args:
        program: the program, bound to what was learned.
        artifact: the run.
        prefix: of the names of the prompts; by default the program's class.
    """
    prefix = prefix or type(program).__name__
    return [
        PromptEntry.of(prompt_document(path, predictor), artifact, prefix=prefix)
        for path, predictor in exportable_predictors(program).items()
    ]


def run_metadata(artifact: Artifact) -> dict[str, str]:
    """The name, the state and the scores of a run, as texts by name."""
    manifest = artifact.manifest
    about: dict[str, Any] = {
        "lmpipe.run": artifact.path.resolve().name,
        "lmpipe.state": artifact.state.hash,
        "lmpipe.optimizer": manifest.get("optimizer", {}).get("name"),
        "lmpipe.student": manifest.get("student", {}).get("model"),
        "lmpipe.metric": manifest.get("metric", {}).get("name"),
        "lmpipe.version": manifest.get("versions", {}).get("lmpipe"),
    }
    best = manifest.get("best") or {}
    for candidate in manifest.get("validation") or ():
        if candidate.get("number") == best.get("number"):
            about |= _score("validation", candidate)
    for name, scores in ((manifest.get("test") or {}).get("scores") or {}).items():
        about |= _score(f"test.{_NOT_IN_NAMES.sub('-', name)}", scores)
    return {name: str(value) for name, value in about.items() if value is not None}


def _score(name: str, scores: Mapping[str, Any]) -> dict[str, Any]:
    kinds = {"score": "score", "interval": "interval", "rows": "examples"}
    return {f"lmpipe.{kind}.{name}": scores.get(key) for kind, key in kinds.items()}


def _messages(document: Mapping[str, Any]) -> list[dict[str, str]]:
    """The turns of the prompt; the last one has the inputs as variables."""
    text = question_text(document, lambda name: "{{" + name + "}}")
    last = {"role": "user", "content": text}
    return [*map(_turn, document["messages"]), last]


def _turn(turn: Mapping[str, Any]) -> dict[str, str]:
    content = turn.get("content")
    if not isinstance(content, str):  # media, or a call of a tool
        content = json_text(content if content is not None else turn.get("tool_calls"))
    return {"role": turn["role"], "content": content}
