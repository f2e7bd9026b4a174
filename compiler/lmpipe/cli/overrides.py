"""The changes that a command line makes to a recipe, and their form in a manifest."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pydantic

from lmpipe.cli.options import LMOptions, ProgramLMOptions
from lmpipe.compiling.recipe import Recipe
from lmpipe.data.source import Data, Source
from lmpipe.errors import ArtifactError, ConfigError, RecipeError
from lmpipe.foundation.redaction import public_url
from lmpipe.lm.lm import LM
from lmpipe.optimize.engine.budget import Budget
from lmpipe.optimize.engine.objectives import parse_weights
from lmpipe.optimize.engine.race_rules import Racing
from lmpipe.settings import configured_lm
from lmpipe.signatures.signature_spec import first_problem
from lmpipe.weights.trainer import Trainer

_ROLES = ("student", "teacher", "proposer", "judge", "embedder")
_FORBID_UNKNOWN = pydantic.ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True)
class LMChoice:
    """An LM that the command line names; None leaves what the name says, or a default of `LM`.

    The name may have the LM's address and key variable, or be one in the project's table of LMs.
    Its API key stays in the environment, in the variable `api_key_env`.
    """

    __pydantic_config__: ClassVar = _FORBID_UNKNOWN

    model: str
    base_urls: tuple[str, ...] = field(default=(), repr=False)  # they may have passwords
    api_key_env: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    reasoning: str | int | None = None
    context: int | None = None

    def lm(self) -> LM:
        """Create the LM."""
        given: dict[str, Any] = {
            name: value
            for name in ("temperature", "max_tokens", "reasoning", "context")
            if (value := getattr(self, name)) is not None
        }
        if self.base_urls:
            given["base_url"] = self.base_urls
        if self.api_key_env is not None:
            given["api_key"] = read_key(self.api_key_env)
        return LM(self.model, **given)


@dataclass(frozen=True, kw_only=True)
class RateOptions:
    """Request limits as `LM.with_limits` takes them; None leaves an LM's own."""

    __pydantic_config__: ClassVar = _FORBID_UNKNOWN

    rpm: float | None = None
    tpm: float | None = None
    timeout: float | None = None


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """The changes to a recipe; None leaves what the recipe says."""

    __pydantic_config__: ClassVar = _FORBID_UNKNOWN

    optimizer: str | None = None
    trainer: str | None = None
    student: LMChoice | None = None
    teacher: LMChoice | None = None
    proposer: LMChoice | None = None
    judge: LMChoice | None = None
    embedder: LMChoice | None = None
    rates: RateOptions | None = None
    train: str | None = None
    from_feedback: str | None = None
    val: str | None = None
    test: str | None = None
    train_size: int | None = None
    val_size: int | None = None
    test_size: int | None = None
    budget: str | None = None
    objectives: str | None = None
    seed: int | None = None
    race: bool | None = None
    ablation: bool | None = None

    def apply(self, recipe: Recipe) -> Recipe:
        """Return a copy of a recipe with these changes, or raise InputError."""
        changes: dict[str, Any] = {
            name: value
            for name in ("optimizer", "train_size", "val_size", "test_size", "seed", "ablation")
            if (value := getattr(self, name)) is not None
        }
        if self.race is not None:
            changes["racing"] = (recipe.racing or Racing()) if self.race else None
        if self.budget is not None:
            changes["budget"] = Budget.parse(self.budget)
        if self.objectives is not None:
            changes["objectives"] = parse_weights(self.objectives)
        changes |= {role: choice.lm() for role in _ROLES if (choice := getattr(self, role))}
        changed = recipe.replace(**changes, **self._data(recipe))
        if self.from_feedback is not None:
            changed = _with_feedback(changed, self.from_feedback)
        changed = self._with_rates(changed)
        if self.trainer is None:
            return changed
        return changed.replace(
            trainer=trainer_named(self.trainer, changed.student or configured_lm())
        )

    def _with_rates(self, recipe: Recipe) -> Recipe:
        if self.rates is None:
            return recipe
        limits = asdict(self.rates)
        recipe = recipe.replace(student=recipe.student or configured_lm())
        lms = {role: lm for role in _ROLES if (lm := getattr(recipe, role)) is not None}
        return recipe.replace(**{role: lm.with_limits(**limits) for role, lm in lms.items()})

    def _data(self, recipe: Recipe) -> dict[str, Data | None]:
        changes: dict[str, Data | None] = {}
        for name in ("train", "val", "test"):
            path = getattr(self, name)
            if path is not None:
                changes[name] = _with_path(getattr(recipe, name) or recipe.train, path)
        # Validation rows of another data set than the training rows would measure another task.
        if self.train is not None and self.val is None and _from_hub(recipe.val):
            changes["val"] = None
        return changes

    def numbers(self) -> Overrides:
        """Return only the changes that an untrusted run folder may make: no file, no server."""
        return Overrides(
            train_size=self.train_size,
            val_size=self.val_size,
            test_size=self.test_size,
            objectives=self.objectives,
            seed=self.seed,
            race=self.race,
            ablation=self.ablation,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the changes as JSON for the manifest, without secrets."""
        changes: dict[str, Any] = _ADAPTER.dump_python(self, exclude_none=True)
        for role in changes.keys() & set(_ROLES):
            addresses = changes[role]["base_urls"]
            changes[role]["base_urls"] = [public_url(address) for address in addresses]
        return changes

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Overrides:
        """Read what `to_json` wrote, or raise ArtifactError."""
        try:
            return _ADAPTER.validate_python(_with_current_names(value))
        except pydantic.ValidationError as error:
            raise ArtifactError(
                f"the manifest's overrides cannot be read: {first_problem(error)}"
            ) from error


_ADAPTER = pydantic.TypeAdapter(Overrides)


def lm_overrides(
    options: ProgramLMOptions, *, teacher: str | None = None, proposer: str | None = None
) -> Overrides:
    """Return the changes that the LM options of a command line make."""
    judge = options.judge if isinstance(options, LMOptions) else None
    if not any((options.student, teacher, proposer, judge, options.embedder)):
        _check_undescribed(options)

    def choose(model: str | None, *, decodes: bool = True) -> LMChoice | None:
        if not model:
            return None
        # A key must not be sent to another server than the one it is given with.
        own = LM(model)
        elsewhere = own.base_url is not None
        return LMChoice(
            model=model,
            base_urls=() if elsewhere else tuple(options.base_url or ()),
            api_key_env=None if elsewhere or own.api_key_env else options.api_key_env,
            temperature=options.temperature if decodes else None,
            max_tokens=options.max_tokens if decodes else None,
            reasoning=_reasoning(options.reasoning) if decodes else None,
            context=options.context,
        )

    rates = RateOptions(rpm=options.rpm, tpm=options.tpm, timeout=options.timeout)
    choices: dict[str, Any] = {
        "student": choose(options.student),
        "teacher": choose(teacher),
        "proposer": choose(proposer),
        "judge": choose(judge),
        "embedder": choose(options.embedder, decodes=False),
    }
    _check_used(options, list(filter(None, choices.values())))
    return Overrides(**choices, rates=None if rates == RateOptions() else rates)


def _check_used(options: ProgramLMOptions, choices: Sequence[LMChoice]) -> None:
    """Raise a RecipeError if the shared address or key is given, but is for none of the LMs."""
    if not choices:
        return
    if options.base_url and not any(choice.base_urls for choice in choices):
        raise RecipeError(
            "--base-url is the server of the LMs that are named without an address, but all named "
            "here have their own: leave it out"
        )
    if options.api_key_env and not any(choice.api_key_env for choice in choices):
        raise RecipeError(
            "--api-key-env is for the LMs that are named without an address or a key, but all "
            f"named here have their own: write #key={options.api_key_env} after the LM's address"
        )


def _reasoning(text: str | None) -> str | int | None:
    """Read how much an LM thinks: a level, or a number of tokens."""
    return int(text) if text is not None and text.isdecimal() else text


def _check_undescribed(options: ProgramLMOptions) -> None:
    for name in ("base_url", "api_key_env", "temperature", "max_tokens", "reasoning", "context"):
        if getattr(options, name) not in (None, []):
            raise RecipeError(
                f"--{name.replace('_', '-')} describes the LMs that the command line names, but it "
                "names none: add --student LM"
            )


def read_key(variable: str) -> str:
    """Return the API key in an environment variable, which must be set."""
    key = os.environ.get(variable)
    if not key:
        raise ConfigError(
            f"--api-key-env {variable}: the environment variable is not set or empty; set it with "
            f"export {variable}=…"
        )
    return key


def trainer_named(name: str, student: LM) -> Trainer:
    """Create the trainer `local`, or `hosted` for the student's provider."""
    from lmpipe.lm.providers.openai_compatible import OPENAI_URL
    from lmpipe.weights.hosted_trainer import HostedTrainer
    from lmpipe.weights.local_trainer import LocalTrainer

    if name == "local":
        return LocalTrainer()
    if name == "hosted":
        return HostedTrainer(base_url=student.base_url or OPENAI_URL, api_key=student.api_key)
    raise RecipeError(f"unknown trainer {name!r}: expected local or hosted")


def _with_current_names(value: Mapping[str, Any]) -> dict[str, Any]:
    """Rename what older versions wrote: `traffic`, and `base_url` for a single server."""
    renamed = {"rates" if name == "traffic" else name: item for name, item in value.items()}
    for role in _ROLES:
        choice = renamed.get(role)
        if isinstance(choice, dict) and "base_url" in choice:
            kept = {name: item for name, item in choice.items() if name != "base_url"}
            renamed[role] = {**kept, "base_urls": [choice["base_url"] or ""]}
    return renamed


def _with_path(data: Data, path: str) -> Source:
    """Return a data source with the same inputs that is read from another place."""
    if isinstance(data, Source):
        return replace(data, source=path, split=None)
    if not data:
        raise RecipeError(
            f"cannot tell which fields of {path} are inputs, because the recipe's data is empty; "
            "give the recipe a lmpipe.Source(…, inputs=[…])"
        )
    return Source(path, inputs=list(data[0].inputs))


def _with_feedback(recipe: Recipe, given: str) -> Recipe:
    """Add feedback to the training data; rows that are in the recipe's other data are left out."""
    from lmpipe.data.source import load_examples
    from lmpipe.monitoring.feedback_rows import read_feedback, with_feedback

    others = {"val": recipe.val, "test": recipe.test}
    held_out = [
        example
        for name, data in others.items()
        if data is not None
        for example in load_examples(name, data)
    ]
    program, path = _feedback_of(given)
    rows = read_feedback(path, program=program)
    if not rows:
        raise RecipeError(
            f"--from-feedback {given} has no row to learn from: a row needs a correction, or a "
            "score of 0.9 or more"
        )
    train = load_examples("train", recipe.train)
    known = {name for example in train for name in example.inputs}
    for row in rows:
        if known and known.isdisjoint(row.inputs):
            raise RecipeError(
                f"--from-feedback {given} is on another program: it has answers to "
                f"{', '.join(row.inputs)}, and the recipe's data have {', '.join(sorted(known))}"
            )
    return recipe.replace(train=with_feedback(train, rows, held_out))


def _feedback_of(given: str) -> tuple[str | None, str]:
    """Parse `[NAME=]PATH`; a path that exists is taken as it is."""
    name, equals, path = given.partition("=")
    return (name, path) if equals and not Path(given).exists() else (None, given)


def _from_hub(data: Data | None) -> bool:
    if not isinstance(data, Source) or isinstance(data.source, Path):
        return False
    return not Path(data.source).suffix and not Path(data.source).exists()
