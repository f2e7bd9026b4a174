"""What is learned about models from their refusals, so that requests hold only what they take."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lmpipe.errors import LMRequestError
from lmpipe.foundation.canonical_json import digest
from lmpipe.lm.defaults import ParameterWarning, StructuredOutputsWarning
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Constraint
from lmpipe.lm.providers import source_of
from lmpipe.lm.providers.reasoning_fields import litellm_reasoning, reasoning_fields
from lmpipe.lm.reply_store import NoteStore, ReplyStore
from lmpipe.lm.request import Request

# Fields that carry a constraint.
_CONSTRAINTS = ("response_format", "structured_outputs", "grammar")
# Providers that are asked without litellm.
_DIRECT = ("openai", "vllm", "local", "scripted", "evaluator")
_MOST_LMS = 256

# Its name, its address and whether it is asked to think: models refuse more while they think.
_Model = tuple[str, str | None, bool]


class ModelKnowledge:
    """What the models of one store of replies take, as their servers said.

    The store keeps it beside the replies, so that another process, or a replay, makes the same
    requests from the start: a request that the server has refused has no reply to find.
    """

    def __init__(self, store: ReplyStore | None) -> None:
        self.store = store
        self._known: dict[_Model, dict[str, bool]] = {}
        # The constraints that a model refuses, by their digests, though it may take others.
        self._refused: dict[_Model, set[str]] = {}
        # The LM of a request, as its model takes it, whether it takes constraints, and which not.
        self._taught: dict[int, tuple[LM, LM, bool, set[str]]] = {}

    def apply(self, request: Request) -> Request:
        """Return the request without what its model is known to refuse."""
        lm = request.lm
        found = self._taught.get(id(lm))
        if found is None or found[0] is not lm:
            found = self._teach(lm)
        _, taught, constrained, refused = found
        constraint = request.constraint
        if constraint is not None and (
            not constrained or (refused and _digest(constraint) in refused)
        ):
            constraint = None
        if taught is lm and constraint is request.constraint:
            return request
        return replace(request, lm=taught, constraint=constraint)

    def change(self, request: Request, error: LMRequestError) -> Request | None:
        """Return the request to send in place of a refused one, or None; see `learn`.

        A guess is not learned yet: it has to be tried.
        """
        if not error.refused:
            return None
        if not error.guess:
            return self.learn(request, error)
        return None if request.constraint is None else replace(request, constraint=None)

    def learn(self, request: Request, error: LMRequestError) -> Request | None:
        """Learn from a refusal; return the request to send in its place, or None.

        What is learned for the first time is told in a `ParameterWarning`. A guess that came true
        is about this constraint: the model may take others.
        """
        if error.guess:
            return self._learn_constraint(request, error)
        lesson = _lesson(request, error.refused)
        if not lesson:
            return None
        model = _model(request.lm)
        known = self._known.get(model, {})
        self._known[model] = {**known, **lesson}
        self._taught.clear()
        changed = self.apply(request)
        if any(known.get(name) != value for name, value in lesson.items()):
            self._keep(request.lm)
            _tell(request.lm, lesson, error)
        return changed

    def _learn_constraint(self, request: Request, error: LMRequestError) -> Request | None:
        if request.constraint is None or "response_format" in request.lm.takes:
            return None
        refused, name = (
            self._refused.setdefault(_model(request.lm), set()),
            _digest(request.constraint),
        )
        if name not in refused:
            refused.add(name)
            self._taught.clear()
            self._keep(request.lm)
            _tell_constraint(request.lm, error)
        return self.apply(request)

    def _keep(self, lm: LM) -> None:
        """Write down what is known about a model."""
        if not isinstance(self.store, NoteStore):
            return
        # Another process may have learned more meanwhile.
        takes, refused = self._look_up(lm)
        model = _model(lm)
        takes |= self._known.get(model, {})
        refused |= self._refused.get(model, set())
        constraints = {"refused_constraints": sorted(refused)} if refused else {}
        self.store.put_note(_subject(lm), {"takes": takes, **constraints})

    def _teach(self, lm: LM) -> tuple[LM, LM, bool, set[str]]:
        model = _model(lm)
        if model not in self._known:
            takes, refused = self._look_up(lm)
            self._known[model] = takes
            self._refused[model] = refused | self._refused.get(model, set())
        # What the user declares beats what was learned.
        known = {name: value for name, value in self._known[model].items() if name not in lm.takes}
        taught = lm.with_takes(known) if known else lm
        if len(self._taught) >= _MOST_LMS:
            self._taught.clear()
        constrained = taught.takes.get("response_format") is not False
        declared = "response_format" in lm.takes
        found = lm, taught, constrained, set() if declared else self._refused[model]
        self._taught[id(lm)] = found
        return found

    def _look_up(self, lm: LM) -> tuple[dict[str, bool], set[str]]:
        """Return what a note says that a model takes, and the constraints that it refuses."""
        if lm.provider == "local" or not isinstance(self.store, NoteStore):
            return {}, set()
        note = self.store.find_note(_subject(lm)) or {}
        takes, refused = note.get("takes"), note.get("refused_constraints")
        found = takes.items() if isinstance(takes, Mapping) else ()
        names = refused if isinstance(refused, list) else ()
        return (
            {name: value for name, value in found if isinstance(value, bool)},
            {name for name in names if isinstance(name, str)},
        )


def _digest(constraint: Constraint) -> str:
    return digest(constraint.to_json())


def _model(lm: LM) -> _Model:
    return lm.model, lm.base_url or _default_url(lm), lm.asked_to_think


def _subject(lm: LM) -> dict[str, Any]:
    """Name a model for a note, without secrets."""
    base_url = lm.identity()["base_url"] or _default_url(lm)
    thinking = {"asked_to_think": True} if lm.asked_to_think else {}
    return {"model": lm.model, "base_url": base_url, **thinking}


def _default_url(lm: LM) -> str | None:
    """The address in the environment, which another process may have set differently."""
    return (source_of(lm) if lm.provider == "openai" else "") or None


def _lesson(request: Request, refused: Mapping[str, str]) -> dict[str, bool]:
    """What a model takes and refuses, of what this request did not know; empty if nothing."""
    lm, lesson = request.lm, dict[str, bool]()
    for name, instead in refused.items():
        if name in _CONSTRAINTS and request.constraint is not None:
            lesson["response_format"] = False
        else:
            lesson[name] = False
        if instead or name == "max_completion_tokens":
            lesson[instead or "max_tokens"] = True
    if _reasoning(lm) and not _reasoning(lm.with_takes(lesson)):
        lesson["reasoning"] = False
    # What the user declares, and what was learned before, is not unlearned.
    if any(lm.takes.get(name) is not None for name in lesson):
        lesson = {name: value for name, value in lesson.items() if name not in lm.takes}
    return lesson if False in lesson.values() else {}


def _reasoning(lm: LM) -> dict[str, Any]:
    """The fields that say how much to think; empty if none is sent."""
    return reasoning_fields(lm) if lm.provider in _DIRECT else litellm_reasoning(lm)


def _tell_constraint(lm: LM, error: LMRequestError) -> None:
    warnings.warn(
        f"{error}\n  {lm.model} answers without this constraint: requests for these outputs are "
        "sent without it from now on, and only parsing enforces the format of their replies. Other "
        f"constraints are sent; LM({lm.model!r}, takes={{'response_format': False}}) leaves out "
        "all, and if the server takes them in another form, declare it: LM(…, structured=…)",
        StructuredOutputsWarning,
        stacklevel=2,
    )


def _tell(lm: LM, lesson: Mapping[str, bool], error: LMRequestError) -> None:
    refused = sorted(name for name, taken in lesson.items() if not taken)
    instead = sorted(name for name, taken in lesson.items() if taken)
    what = " and ".join(refused) + (f", but {' and '.join(instead)}" if instead else "")
    message = (
        f"{error}\n  {lm.model} does not take {what}: requests to it are sent accordingly from now "
        f"on. LM({lm.model!r}, takes={dict(sorted(lesson.items()))}) says so from the start"
    )
    if "response_format" in refused:
        message += (
            ". Without a constraint, only parsing enforces the format of replies; if the server "
            "takes constraints in another form, declare it: LM(…, structured=…)"
        )
        warnings.warn(message, StructuredOutputsWarning, stacklevel=2)
    else:
        warnings.warn(message, ParameterWarning, stacklevel=2)
