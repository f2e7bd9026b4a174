"""What the command line changes of a recipe, and how a manifest remembers it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lmpipe.compiling.recipe import Recipe
from lmpipe.data.source import Data, Source
from lmpipe.errors import ArtifactError, ConfigError, RecipeError
from lmpipe.lm.lm import LM, without_password
from lmpipe.optimize.engine.budget import Budget
from lmpipe.weights.trainer import Trainer

_ROLES = ("student", "teacher", "proposer", "embedder")


def read_key(variable: str) -> str:
    """The API key in an environment variable.

    Raises:
        ConfigError: if it is not set.
    """
    key = os.environ.get(variable)
    if not key:
        raise ConfigError(
            f"--api-key-env {variable}: there is no such environment variable, or it is empty; "
            f"set it with export {variable}=…"
        )
    return key


@dataclass(frozen=True)
class LMChoice:
    """An LM as the command line names it; the key itself stays in the environment.

    Args:
        model: its name.
        base_urls: its server, or the replicas of it.
        api_key_env: the environment variable that holds its key, or None.
    """

    model: str
    base_urls: tuple[str, ...] = ()
    api_key_env: str | None = None

    def lm(self) -> LM:
        """Make the LM.

        Raises:
            ConfigError: if the environment variable is not set, or the name is no LM's.
        """
        key = None if self.api_key_env is None else read_key(self.api_key_env)
        return LM(self.model, base_url=self.base_urls, api_key=key)


@dataclass(frozen=True, kw_only=True)
class RateOptions:
    """How much and how long servers are asked; None leaves what the LMs say.

    Args:
        rpm: requests per minute.
        tpm: tokens per minute.
        timeout: the longest that one request may take, in seconds.
    """

    rpm: float | None = None
    tpm: float | None = None
    timeout: float | None = None

    def apply(self, lm: LM) -> LM:
        """The LM within these limits.

        Raises:
            ConfigError: if one of them is not above 0.
        """
        return lm.with_limits(rpm=self.rpm, tpm=self.tpm, timeout=self.timeout)


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What is changed of a recipe; None leaves its own."""

    optimizer: str | None = None
    trainer: str | None = None
    student: LMChoice | None = None
    teacher: LMChoice | None = None
    proposer: LMChoice | None = None
    embedder: LMChoice | None = None
    traffic: RateOptions | None = None
    train: str | None = None
    val: str | None = None
    test: str | None = None
    train_size: int | None = None
    val_size: int | None = None
    test_size: int | None = None
    budget: str | None = None
    seed: int | None = None
    race: bool | None = None

    def apply(self, recipe: Recipe) -> Recipe:
        """A recipe with these changes.

        Raises:
            InputError: if one of them cannot be used.
        """
        changes: dict[str, Any] = {
            name: value
            for name in ("optimizer", "train_size", "val_size", "test_size", "seed", "race")
            if (value := getattr(self, name)) is not None
        }
        if self.budget is not None:
            changes["budget"] = Budget.parse(self.budget)
        changes |= {role: choice.lm() for role in _ROLES if (choice := getattr(self, role))}
        changed = self._in_traffic(recipe.replace(**changes, **self._data(recipe)))
        if self.trainer is None:
            return changed
        return changed.replace(trainer=trainer_named(self.trainer, changed.student))

    def _in_traffic(self, recipe: Recipe) -> Recipe:
        if self.traffic is None:
            return recipe
        own = {role: lm for role in _ROLES if (lm := getattr(recipe, role)) is not None}
        return recipe.replace(**{role: self.traffic.apply(lm) for role, lm in own.items()})

    def _data(self, recipe: Recipe) -> dict[str, Data | None]:
        changes: dict[str, Data | None] = {}
        for name in ("train", "val", "test"):
            path = getattr(self, name)
            if path is not None:
                changes[name] = _moved(getattr(recipe, name) or recipe.train, path)
        # Validation rows of another data set than the training rows would judge another task.
        if self.train is not None and self.val is None and _from_hub(recipe.val):
            changes["val"] = None
        return changes

    def numbers(self) -> Overrides:
        """What names no file and no server: all that an untrusted folder may decide."""
        return Overrides(
            train_size=self.train_size,
            val_size=self.val_size,
            test_size=self.test_size,
            seed=self.seed,
            race=self.race,
        )

    def to_json(self) -> dict[str, Any]:
        """The changes alone, for manifests; no secret."""
        found = {name: value for name, value in asdict(self).items() if value is not None}
        for name in _ROLES:
            if name in found:
                found[name]["base_urls"] = [
                    without_password(address) for address in found[name]["base_urls"]
                ]
        return found

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Overrides:
        """Read back what `to_json` wrote.

        Raises:
            ArtifactError: if it is something else.
        """
        try:
            read: dict[str, Any] = {
                role: _read_choice(value[role]) for role in _ROLES if role in value
            }
            if "traffic" in value:
                read["traffic"] = RateOptions(**value["traffic"])
            found = Overrides(**{**value, **read})
        except TypeError as error:
            raise ArtifactError(f"the manifest's overrides cannot be read: {error}") from error
        numbers = (found.train_size, found.val_size, found.test_size, found.seed)
        rates = vars(found.traffic or RateOptions()).values()
        if not all(number is None or isinstance(number, int) for number in numbers) or not all(
            rate is None or isinstance(rate, int | float) for rate in rates
        ):
            raise ArtifactError("the manifest's overrides cannot be read: a size is no number")
        if found.race not in (None, True, False):
            raise ArtifactError("the manifest's overrides cannot be read: race is no truth value")
        return found


def trainer_named(name: str, student: LM) -> Trainer:
    """The trainer that the command line calls so.

    Args:
        name: `local`, or `hosted` for the provider that the student is asked at.
        student: whose weights are trained.

    Raises:
        RecipeError: if there is no such trainer.
    """
    from lmpipe.lm.providers.openai_compatible import OPENAI_URL
    from lmpipe.weights.hosted_trainer import HostedTrainer
    from lmpipe.weights.local_trainer import LocalTrainer

    if name == "local":
        return LocalTrainer()
    if name == "hosted":
        return HostedTrainer(base_url=student.base_url or OPENAI_URL, api_key=student.api_key)
    raise RecipeError(f"unknown trainer {name!r}: there are local, hosted")


def choose_lms(
    base_urls: Sequence[str] | None, api_key_env: str | None, **models: str | None
) -> dict[str, LMChoice]:
    """The LMs of the command line, by role.

    Args:
        base_urls: the servers that all of them are on.
        api_key_env: the environment variable with the key of all of them.
        models: the names of those that are chosen, by role.

    Raises:
        RecipeError: if a server or key is given, but no LM that it belongs to.
    """
    addresses = tuple(base_urls or ())
    if not any(models.values()) and (addresses or api_key_env):
        given = "--base-url" if addresses else "--api-key-env"
        raise RecipeError(f"{given} says where an LM is reached, but not which: add --student LM")
    return {
        role: LMChoice(model, addresses, api_key_env) for role, model in models.items() if model
    }


def _read_choice(value: Mapping[str, Any]) -> LMChoice:
    value = dict(value)
    if "base_url" in value:  # as it was written when there could be but one
        value["base_urls"] = [value.pop("base_url") or ""]
    return LMChoice(**{**value, "base_urls": tuple(value.get("base_urls", ()))})


def _moved(data: Data, path: str) -> Source:
    """The same data, read from another place."""
    if isinstance(data, Source):
        return replace(data, source=path, split=None)
    if not data:
        raise RecipeError(
            f"cannot tell which fields of {path} are inputs: the recipe's own data are empty; "
            "give it a lmpipe.Source(…, inputs=[…])"
        )
    return Source(path, inputs=list(data[0].inputs))


def _from_hub(data: Data | None) -> bool:
    if not isinstance(data, Source) or isinstance(data.source, Path):
        return False
    return not Path(data.source).suffix and not Path(data.source).exists()
