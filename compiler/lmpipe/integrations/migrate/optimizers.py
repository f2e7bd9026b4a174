"""How DSPy's optimizers and their `compile` become an optimizer and a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# Arguments of a recipe, by the names that DSPy's `compile` and constructors give them.
RECIPE = {
    "student": "program",
    "trainset": "train",
    "valset": "val",
    "teacher": "teacher_program",
    "metric": "metric",
    "seed": "seed",
    "teacher_settings": "teacher",
    "prompt_model": "proposer",
    "reflection_lm": "proposer",
    "task_model": "student",
    "vectorizer": "embedder",
}

# Arguments that need no counterpart: how much runs at once, what is printed, how a search is cut
# into batches.
DROPPED = frozenset(
    {
        *("num_threads", "max_errors", "verbose", "track_stats", "log_dir", "provide_traceback"),
        *("requires_permission_to_run", "minibatch", "minibatch_size", "minibatch_full_eval_steps"),
        *("program_aware_proposer", "data_aware_proposer", "tip_aware_proposer"),
        *("fewshot_aware_proposer", "view_data_batch_size", "eval_kwargs", "restrict", "sample"),
        *("labeled_sample", "display_progress", "track_best_outputs", "warn_on_score_mismatch"),
        *("skip_perfect_score", "perfect_score", "failure_score", "demo_input_field_maxlen"),
        *("valset_ratio", "shuffle_trainset_between_steps", "temperature_for_candidates"),
        *("candidate_selection_strategy", "max_merge_invocations", "use_wandb", "use_mlflow"),
    }
)


@dataclass(frozen=True)
class OptimizerRule:
    """One of DSPy's optimizers.

    Args:
        to: its name in lmpipe.
        positions: the names of the positional arguments of its constructor.
        names: its settings, with lmpipe's names.
        compiled: the names of the positional arguments of its `compile`.
    """

    to: str
    positions: tuple[str, ...]
    names: Mapping[str, str] = field(default_factory=dict)
    compiled: tuple[str, ...] = ("student",)


_RANDOM_SEARCH = OptimizerRule(
    "RandomSearch",
    ("metric", "teacher_settings"),
    {
        "max_bootstrapped_demos": "bootstrapped",
        "max_labeled_demos": "demos",
        "num_candidate_programs": "candidates",
        "metric_threshold": "threshold",
    },
)

OPTIMIZERS = {
    "LabeledFewShot": OptimizerRule("LabeledFewShot", ("k",), {"k": "demos"}),
    "BootstrapFewShot": OptimizerRule(
        "BootstrapFewShot",
        ("metric", "metric_threshold", "teacher_settings", "max_bootstrapped_demos"),
        {
            "max_bootstrapped_demos": "bootstrapped",
            "max_labeled_demos": "labeled",
            "max_rounds": "rounds",
            "metric_threshold": "threshold",
        },
    ),
    "BootstrapFewShotWithRandomSearch": _RANDOM_SEARCH,
    "BootstrapRS": _RANDOM_SEARCH,
    "MIPROv2": OptimizerRule(
        "MIPROv2",
        ("metric", "prompt_model", "task_model"),
        {
            "auto": "effort",
            "num_candidates": "instructions",
            "num_trials": "trials",
            "max_bootstrapped_demos": "bootstrapped",
            "max_labeled_demos": "demos",
            "init_temperature": "temperature",
            "metric_threshold": "threshold",
        },
    ),
    "COPRO": OptimizerRule(
        "COPRO",
        ("prompt_model", "metric", "breadth", "depth"),
        {"breadth": "breadth", "depth": "depth", "init_temperature": "temperature"},
    ),
    "SIMBA": OptimizerRule(
        "SIMBA",
        (),
        {
            "bsize": "batch",
            "num_candidates": "candidates_per_step",
            "max_steps": "steps",
            "max_demos": "demos",
            "temperature_for_sampling": "sampling_temperature",
        },
    ),
    "GEPA": OptimizerRule(
        "GEPA",
        ("metric",),
        {
            "auto": "effort",
            "max_metric_calls": "runs",
            "reflection_minibatch_size": "batch",
            "use_merge": "merge",
        },
    ),
    "KNNFewShot": OptimizerRule("KNNFewShot", ("k", "trainset", "vectorizer"), {"k": "k"}),
    "BootstrapFinetune": OptimizerRule(
        "BootstrapFinetune",
        ("metric", "multitask"),
        {"multitask": "shared"},
        compiled=("student", "trainset", "teacher"),
    ),
    "BetterTogether": OptimizerRule(
        "BetterTogether",
        ("metric",),
        {
            "p": "prompt",
            "prompt_optimizer": "prompt",
            "w": "weights",
            "weight_optimizer": "weights",
            "strategy": "order",
        },
    ),
    "InferRules": OptimizerRule(
        "InferRules",
        ("num_candidates", "num_rules"),
        {"num_candidates": "candidates", "num_rules": "rules", "max_labeled_demos": "demos"},
    ),
}
