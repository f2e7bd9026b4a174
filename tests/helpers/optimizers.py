"""Every optimizer with settings for small searches, to test what all of them promise."""

from __future__ import annotations

import lmpipe
from lmpipe.optimize.engine.optimizer import Optimizer

SMALL: dict[str, Optimizer] = {
    "labeled": lmpipe.LabeledFewShot(demos=4),
    "bootstrap": lmpipe.BootstrapFewShot(bootstrapped=2, labeled=4),
    "random-search": lmpipe.RandomSearch(candidates=4, demos=6, bootstrapped=2),
    "knn": lmpipe.KNNFewShot(k=(2, 4)),
    "student-preferred": lmpipe.StudentPreferred(demos_tried=6, neighbors=3, demos=(2, 4)),
    "layout": lmpipe.LayoutSearch(demos=2),
    "auto": lmpipe.Auto(weights=None),
    "gepa": lmpipe.GEPA(runs=180),
    "edit-search": lmpipe.EditSearch(runs=140, edits=4, batch=6),
    "infer-rules": lmpipe.InferRules(candidates=2, demos=2),
    "copro": lmpipe.COPRO(breadth=2, depth=2, examples=6, shown=2),
    "mipro": lmpipe.MIPROv2(instructions=3, demo_sets=4, trials=6, trials_per_race=3, demos=4),
    "simba": lmpipe.SIMBA(steps=2, batch=6, samples=2, candidates_per_step=2, finalists=2),
    "playbook": lmpipe.Playbook(epochs=2, batch=5),
    "ensemble": lmpipe.Ensemble(
        search=lmpipe.RandomSearch(candidates=3, demos=4, bootstrapped=0), size=2
    ),
    "chain": lmpipe.Chain(
        stages=(lmpipe.LayoutSearch(demos=2), lmpipe.RandomSearch(candidates=2, demos=6))
    ),
}

# The optimizers that train weights: their recipe needs a trainer.
TRAINING: dict[str, Optimizer] = {
    "finetune": lmpipe.BootstrapFinetune(teacher_demos=4, rows=4, select="preferred"),
    "distill": lmpipe.Distill(samples=2, rows=4, select="need"),
    "better-together": lmpipe.BetterTogether(prompt=lmpipe.LabeledFewShot(demos=2)),
}

EVERY = {**SMALL, **TRAINING}
