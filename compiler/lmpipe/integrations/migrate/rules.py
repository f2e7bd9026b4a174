"""What names and arguments of DSPy are in lmpipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# Names that are used in the same way.
RENAMED = {
    "Module": "Module",
    "Signature": "Signature",
    "InputField": "Input",
    "OutputField": "Output",
    "Example": "Example",
    "Image": "Image",
    "Audio": "Audio",
    "File": "File",
    "History": "History",
    "Tool": "Tool",
    "ToolCalls": "ToolCalls",
    "Code": "Code",
    "Predict": "Predict",
    "ChainOfThought": "ChainOfThought",
    "ReAct": "ReAct",
    "ProgramOfThought": "ProgramOfThought",
    "CodeAct": "CodeAct",
    "BestOfN": "BestOfN",
    "Refine": "Refine",
    "MultiChainComparison": "MultiChainComparison",
    "Retrieve": "Retrieve",
    "Parallel": "Parallel",
    "LM": "LM",
    "majority": "majority",
    "inspect_history": "inspect_history",
    "configure": "configure",
    "settings.configure": "configure",
    "context": "using",
    "settings.context": "using",
}

# Classes whose calls make a predictor of a signature.
PREDICTORS = {
    *("Predict", "ChainOfThought", "ReAct", "ProgramOfThought", "CodeAct"),
    *("MultiChainComparison", "BestOfN", "Refine"),
}

LAYOUTS = {
    "JSONAdapter": "json",
    "XMLAdapter": "xml",
    "TwoStepAdapter": "two-step",
    "ChatAdapter": "chat",
}

MEDIA = ("Image", "Audio", "File")

# What to do about names that have no counterpart.
BY_HAND = {
    "streamify": "call program.stream(…), which every program has",
    "track_usage": "lmpipe.usage_of(result) gives the tokens and dollars of a result",
    "load": "load a run folder with lmpipe.load(folder, program)",
    "ColBERTv2": "write a function (query, k) that asks the server, and pass it to lmpipe.Retrieve",
    "Embedder": 'an embedding LM is lmpipe.LM("openai/text-embedding-3-small")',
    "RLM": "use lmpipe.RecursiveLM",
    "ReActV2": "use lmpipe.ReAct, which makes native calls of LMs that take tools",
    "BootstrapFewShotWithOptuna": "use lmpipe.MIPROv2 or lmpipe.RandomSearch",
    "Ensemble": "use optimizer=lmpipe.Ensemble(search, size=…), which makes its members",
    "Tool.from_mcp_tool": "lmpipe.mcp_tools(session) gives the tools of a server",
    "Tool.from_langchain": "use lmpipe.Tool.of(tool)",
    "make_signature": "use lmpipe.signature_from_string or lmpipe.signature_from_dict",
    "BaseLM": "serve the LM, and name it: lmpipe.LM(…, base_url=…)",
    "settings.lm": "pass the LM where it is used; lmpipe.using(lm=…) changes it for a block",
    "utils.DummyLM": "use lmpipe.ScriptedLM in tests",
    "utils.dummies.DummyLM": "use lmpipe.ScriptedLM in tests",
    "KNN": "use optimizer=lmpipe.KNNFewShot(k=(…,))",
    "configure_cache": "use lmpipe.configure(cache=folder)",
    "Completions": "draw samples with predictor.samples(n, …)",
    "Reasoning": "declare the field as str; ChainOfThought uses the LM's own thoughts",
    "evaluate.answer_passage_match": 'use lmpipe.metrics.contains("context", gold="answer")',
    "evaluate.CompleteAndGrounded": "use lmpipe.metrics.CompleteAndGrounded(…) by fields' names",
}


def hint(name: str) -> str:
    """Say what to do about a name of DSPy that has no counterpart."""
    known = name
    while known:
        if known in BY_HAND:
            return BY_HAND[known]
        known = known.rpartition(".")[0]
    return f"lmpipe has no {name}"


# Attributes of programs and predictors that change them, or that lmpipe has under another form.
MUTATIONS = {
    "set_lm": "a program is not changed: use lmpipe.using(lm=…) or Predict(…, lm=…)",
    "get_lm": "the LM is that of lmpipe.using or lmpipe.configure, or the predictor's lm=",
    "demos": "demonstrations are part of a state: program.bind(state) runs with them",
    "load_state": "use program.bind(lmpipe.ProgramState.from_bytes(…)), which returns a copy",
    "dump_state": "use program.state().to_bytes()",
    "named_predictors": "use program.predictors(), a dict of predictors by path",
    "named_parameters": "use program.predictors(), a dict of predictors by path",
    "named_sub_modules": "use program.predictors(), a dict of predictors by path",
    "set_demos": "demonstrations are part of a state: program.bind(state) runs with them",
}


@dataclass(frozen=True)
class CallRule:
    """How the arguments of one call are rewritten.

    Args:
        positions: the names that DSPy gives to positional arguments.
        names: the arguments that lmpipe has, by DSPy's names, with lmpipe's names.
        kept: how many of the positional arguments may stay positional.
        dropped: arguments that need no counterpart.
        by_hand: what to do about arguments that have no counterpart.
        others: whether arguments that are not named here are passed on.
    """

    positions: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    kept: int = 0
    dropped: frozenset[str] = frozenset()
    by_hand: Mapping[str, str] = field(default_factory=dict)
    others: bool = False


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_SAMPLES = {"n": "draw samples with predictor.samples(n, …)"}
_PREDICTOR = CallRule(
    ("signature",),
    _same("signature"),
    kept=1,
    by_hand={
        **_SAMPLES,
        "callbacks": "listen with lmpipe.observing(…)",
        "rationale_field": "declare the field in the signature, before the other outputs",
        "rationale_field_type": "declare the field in the signature, before the other outputs",
    },
    dropped=frozenset({"cache"}),
    others=True,
)
_ATTEMPTS = CallRule(
    ("module", "N", "reward_fn", "threshold", "fail_count"),
    {"module": "program", "N": "n", "reward_fn": "reward", "threshold": "threshold"},
    kept=1,
    dropped=frozenset({"fail_count"}),
)
_INTERPRETER = {"interpreter_factory": "choose the sandbox: sandbox=lmpipe.MontySandbox()"}

CALLS = {
    "Predict": _PREDICTOR,
    "ChainOfThought": _PREDICTOR,
    "ReAct": CallRule(
        ("signature", "tools", "max_iters"),
        {**_same("signature", "tools"), "max_iters": "max_steps"},
        kept=2,
    ),
    "CodeAct": CallRule(
        ("signature", "tools", "max_iters", "interpreter_factory"),
        {**_same("signature", "tools"), "max_iters": "max_steps"},
        kept=2,
        by_hand=_INTERPRETER,
    ),
    "ProgramOfThought": CallRule(
        ("signature", "max_iters", "interpreter_factory"),
        {"signature": "signature", "max_iters": "max_attempts"},
        kept=1,
        by_hand=_INTERPRETER,
    ),
    "BestOfN": _ATTEMPTS,
    "Refine": _ATTEMPTS,
    "MultiChainComparison": CallRule(
        ("signature", "M", "temperature"),
        {"signature": "signature", "M": "m", "temperature": "temperature"},
        kept=1,
        others=True,
    ),
    "Parallel": CallRule(
        ("num_threads", "max_errors", "access_examples"),
        {"num_threads": "concurrency", "timeout": "timeout"},
        dropped=frozenset(
            {"max_errors", "access_examples", "provide_traceback", "disable_progress_bar"}
            | {"straggler_limit"}
        ),
        by_hand={"return_failed_examples": "the place of a run that failed has its error"},
    ),
    "Tool": CallRule(
        ("func", "name", "desc"),
        {"func": "function", "name": "name", "desc": "description"},
        kept=1,
        by_hand={
            "args": "the arguments are those of the function",
            "arg_types": "annotate the parameters of the function",
            "arg_desc": "describe the parameters in the docstring, or by Annotated",
        },
    ),
    "Example": CallRule(
        ("base",), by_hand={"base": "copy a row by row.copy(field=…)"}, others=True
    ),
    "InputField": CallRule(dropped=frozenset({"prefix", "format", "parser"}), others=True),
    "OutputField": CallRule(dropped=frozenset({"prefix", "format", "parser"}), others=True),
    "LM": CallRule(
        ("model", "model_type"),
        {"model": "model", "api_base": "base_url", "base_url": "base_url"},
        kept=1,
        dropped=frozenset({"model_type", "num_retries", "engine", "async_engine", "prompt_cache"}),
        by_hand={
            "cache": "turn the cache off for a process by lmpipe.configure(cache=False)",
            "rollout_id": "samples are numbered: predictor.samples(n, …)",
            "provider": "training belongs to the recipe: trainer=…",
            "finetuning_model": "training belongs to the recipe: base_model=…",
            "launch_kwargs": "serving belongs to the recipe: servers=…",
            "train_kwargs": "training belongs to the optimizer: training=TrainingSettings(…)",
            "callbacks": "listen with lmpipe.observing(…)",
            "use_developer_role": "lmpipe chooses the role of the first message",
        },
        others=True,
    ),
    "configure": CallRule(
        names=_same("lm"),
        dropped=frozenset({"rm", "adapter", "num_threads", "max_errors", "disable_history"}),
        by_hand={
            "track_usage": "lmpipe.usage_of(result) gives the tokens and dollars of a result",
            "callbacks": "listen with lmpipe.configure(listeners=[…])",
            "async_max_workers": "use max_in_flight=…",
        },
    ),
    "Retrieve": CallRule(("k",), {"k": "k"}),
    "Evaluate": CallRule(
        ("devset", "metric", "num_threads"),
        {"devset": "data", "metric": "metric", "num_threads": "concurrency"},
        dropped=frozenset(
            {"display_progress", "display_table", "max_errors", "provide_traceback"}
            | {"failure_score", "return_outputs", "return_all_scores"}
        ),
        by_hand={
            "save_as_csv": "use save_to=…",
            "save_as_json": "use save_to=…",
        },
    ),
    "batch": CallRule(
        ("examples", "num_threads"),
        {"examples": "rows", "num_threads": "concurrency", "timeout": "timeout"},
        kept=1,
        dropped=frozenset(
            {"max_errors", "provide_traceback", "disable_progress_bar", "straggler_limit"}
        ),
        by_hand={"return_failed_examples": 'use on_error="keep"'},
    ),
}

# What is called in the place where DSPy calls the class.
CALLED_AS = {"Tool": "Tool.of"}

# Steps and attempts that DSPy makes if nothing is said, where lmpipe makes another number.
DEFAULTS = {"ReAct": ("max_steps", "20")}

# Arguments of a call of a predictor that are not inputs.
CALL_OPTIONS = {
    "config": "set decoding at the predictor: Predict(…, temperature=…)",
    "lm": "choose the LM at the predictor, or by lmpipe.using(lm=…)",
    "demos": "demonstrations are part of a state: program.bind(state) runs with them",
    "signature": "make a predictor for each signature",
}
