"""Copies of an LM that differ in one respect: its limits, model, address, adapter or settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from lmpipe.errors import ConfigError
from lmpipe.lm.arguments import ON_SERVERS, check_timeout
from lmpipe.lm.defaults import ASKED, check_takes, tell_left_out
from lmpipe.lm.text_form import is_named, parse_text_form

if TYPE_CHECKING:
    from lmpipe.lm.lm import LM


class ChangedCopies:
    """The methods of an LM that return a changed copy of it."""

    __slots__ = ()

    def with_limits(
        self,
        *,
        in_flight: int | None = None,
        rpm: float | None = None,
        tpm: float | None = None,
        timeout: float | None = None,
    ) -> LM:
        """Return the same LM with other limits or another timeout; its identity stays the same.

        Raises:
            ConfigError: if one of them is not above 0.
        """
        lm = cast("LM", self)
        given = {"in_flight": in_flight, "rpm": rpm, "tpm": tpm}
        changed: dict[str, Any] = {k: limit for k, limit in given.items() if limit is not None}
        changes: dict[str, Any] = {"limits": replace(lm.limits, **changed)}
        if timeout is not None:
            check_timeout(timeout)
            changes["timeout"] = timeout
        return lm._changed(changes)

    def with_model(self, model: str) -> LM:
        """Return another model, on the same server if the provider is the same.

        It has no adapter, and neither `price` nor `takes`: they are one model's. A name in the
        project's table of LMs stands for that LM, with its own server and settings.

        Raises:
            ConfigError: if the model's name has an address or a key: a learned state, which others
                may have written, must not say where data and keys are sent.
        """
        from lmpipe.lm.lm import LM

        lm = cast(LM, self)
        if model == lm.model:
            return lm
        if parse_text_form(model).settings:
            raise ConfigError(
                f"{model}: the state of a program names a model, and must not say where it is "
                "served: give the predictor lm=…, or name the LM in the table [lms] of lmpipe.toml"
            )
        other = LM(model)
        if other.provider != lm.provider or is_named(model):
            return other
        own = {"model": other.model, "adapter": None, "price": other.price, "takes": other.takes}
        changed = lm._changed(own)
        tell_left_out(model, changed._settled.left_out)
        return changed

    def at(self, base_url: str, *, api_key: str | None = None) -> LM:
        """Return the same LM at another URL, with its current key unless another is given."""
        changes: dict[str, Any] = {"base_url": base_url, "replicas": ()}
        if api_key:
            changes |= {"api_key": api_key, "api_key_env": None}
        return cast("LM", self)._changed(changes)

    def with_adapter(self, adapter: str | None) -> LM:
        """Return the same LM with a LoRA adapter, named as on the server.

        Raises:
            ConfigError: if this LM's provider does not support adapters.
        """
        lm = cast("LM", self)
        if lm.provider not in ON_SERVERS:
            raise ConfigError(
                f"LM({lm.model!r}) cannot use the adapter {adapter}: serve its weights with vLLM "
                'and name the model "vllm/…"'
            )
        return lm._changed({"adapter": adapter})

    def with_settings(self, **settings: Any) -> LM:
        """Return a copy with other decoding settings; unknown names become `params`.

        None leaves a setting out of requests.

        Raises:
            ConfigError: if a value is out of range.
        """
        lm = cast("LM", self)
        given = {name: settings.pop(name) for name in ASKED if name in settings}
        asked = replace(lm._asked, **given)
        asked.check()
        changes: dict[str, Any] = {"_asked": asked}
        if settings:
            changes["params"] = MappingProxyType({**lm.params, **settings})
        changed = lm._changed(changes)
        left_out = changed._settled.left_out
        tell_left_out(lm.model, {name: why for name, why in left_out.items() if name in given})
        return changed

    def with_takes(self, takes: Mapping[str, bool]) -> LM:
        """Return the same LM, whose model takes and refuses this too; see `LM`."""
        lm = cast("LM", self)
        check_takes(lm.model, takes)
        return lm._changed({"takes": MappingProxyType({**lm.takes, **takes})})
