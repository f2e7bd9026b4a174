"""Optimizers by their names on the command line."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from lmpipe.errors import RecipeError
from lmpipe.foundation.foreign import optimizer_of_package
from lmpipe.optimize.auto import Auto
from lmpipe.optimize.better_together import BetterTogether
from lmpipe.optimize.bootstrap_few_shot import BootstrapFewShot
from lmpipe.optimize.chain import Chain
from lmpipe.optimize.copro import COPRO
from lmpipe.optimize.distill import Distill
from lmpipe.optimize.edit_search import EditSearch
from lmpipe.optimize.engine.optimizer import Optimizer
from lmpipe.optimize.ensemble import Ensemble
from lmpipe.optimize.finetune import BootstrapFinetune
from lmpipe.optimize.gepa import GEPA
from lmpipe.optimize.infer_rules import InferRules
from lmpipe.optimize.knn_few_shot import KNNFewShot
from lmpipe.optimize.labeled_few_shot import LabeledFewShot
from lmpipe.optimize.layout_search import LayoutSearch
from lmpipe.optimize.mipro import MIPROv2
from lmpipe.optimize.playbook import Playbook
from lmpipe.optimize.random_search import RandomSearch
from lmpipe.optimize.simba import SIMBA
from lmpipe.optimize.student_preferred import StudentPreferred

_OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {
    LabeledFewShot.name: LabeledFewShot,
    BootstrapFewShot.name: BootstrapFewShot,
    RandomSearch.name: RandomSearch,
    KNNFewShot.name: KNNFewShot,
    StudentPreferred.name: StudentPreferred,
    LayoutSearch.name: LayoutSearch,
    COPRO.name: COPRO,
    MIPROv2.name: MIPROv2,
    GEPA.name: GEPA,
    EditSearch.name: EditSearch,
    SIMBA.name: SIMBA,
    InferRules.name: InferRules,
    Playbook.name: Playbook,
    Ensemble.name: Ensemble,
    Chain.name: Chain,
    BootstrapFinetune.name: BootstrapFinetune,
    Distill.name: Distill,
    BetterTogether.name: BetterTogether,
    Auto.name: Auto,
}


def optimizer_names() -> tuple[str, ...]:
    """Return the names of all optimizers, as the command line takes them."""
    return tuple(_OPTIMIZERS)


def optimizer_named(name: str) -> Optimizer:
    """Make an optimizer with its default settings, by its name on the command line.

    The name may be that of one of another package, such as `dspy.MIPROv2`.

    Raises:
        RecipeError: if no optimizer has this name.
        ConfigError: if its package is not installed.
    """
    if name not in _OPTIMIZERS:
        theirs: Optimizer | None = optimizer_of_package(name)
        if theirs is not None:
            return theirs
        near = difflib.get_close_matches(name, _OPTIMIZERS, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        names = ", ".join(_OPTIMIZERS)
        raise RecipeError(f"unknown optimizer {name!r}{hint}; the optimizers are {names}")
    return _OPTIMIZERS[name]()
