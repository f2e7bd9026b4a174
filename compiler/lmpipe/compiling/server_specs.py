"""Which servers a compile needs: their specs, and when they run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lmpipe.compiling.recipe import PreparedRecipe
from lmpipe.lm.lm import LM
from lmpipe.lm.providers.base import is_served
from lmpipe.serving.fleet import Fleet
from lmpipe.serving.spec import AdapterLimits, ServerSpec
from lmpipe.weights.base_model import default_base_model

# The model name of the embedded LM's weights, converted to a folder that vLLM can serve.
LOCAL = "local"


def server_specs(prepared: PreparedRecipe) -> dict[str, ServerSpec]:
    """Return the specs of the servers of a compile's LMs without a URL, by LM name."""
    ranks = [settings.rank for settings in prepared.trainings if not settings.full]
    limits = AdapterLimits.holding(rank=max(ranks), count=len(ranks)) if ranks else None
    lms = prepared.lms
    teachers = getattr(prepared.optimizer, "teachers", ())
    used = (lms.student, lms.teacher, lms.proposer, lms.judge, *teachers, lms.embedder)
    needed = [lm for lm in used if lm is not None]
    return specs_of(needed, prepared.recipe.servers, with_adapters=[lms.student], limits=limits)


def specs_of(
    lms: Sequence[LM],
    servers: Sequence[ServerSpec],
    *,
    with_adapters: Sequence[LM] = (),
    limits: AdapterLimits | None = None,
) -> dict[str, ServerSpec]:
    """Return the specs of the servers of LMs without a URL, by LM name.

    LMs without a spec in `servers` get the defaults. The servers of the LMs in `with_adapters`
    get the adapter limits, unless their spec has some.
    """
    given = {spec.name or spec.model: spec for spec in servers}
    specs = {
        lm.model: given.get(lm.name) or ServerSpec(model=lm.name) for lm in lms if is_served(lm)
    }
    for lm in with_adapters:
        if limits and (spec := specs.get(lm.model)) and spec.adapters is None:
            specs[lm.model] = replace(spec, adapters=limits)
    return specs


def with_local_model(specs: Mapping[str, ServerSpec]) -> dict[str, ServerSpec]:
    """Replace the model `local` by the folder of its weights; create that folder once."""
    return {
        name: replace(spec, name=spec.name or LOCAL, model=str(default_base_model()))
        if spec.model == LOCAL
        else spec
        for name, spec in specs.items()
    }


def server_schedule(prepared: PreparedRecipe) -> list[str]:
    """Describe when servers and trainings run; empty without servers and trainings."""
    specs, lms, trainings = server_specs(prepared), prepared.lms, len(prepared.trainings)
    used = [("baselines", lms.student.model), ("rollouts", lms.teacher.model)]
    phases = [(label, [model]) for label, model in used if model in specs]
    if trainings:
        phases.append((f"training of {trainings} sets of weights", []))
    if lms.student.model in specs:
        phases.append(("search and test", [lms.student.model]))
    return Fleet(specs).schedule(phases) if phases else []
