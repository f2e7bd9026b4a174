"""DSPy's optimizers in the rule world, as a process: `python -m rules.dspy_side --help`.

The settings are DSPy's defaults, with the numbers that decide about calls chosen for the budget.
"""

from __future__ import annotations

import json
import logging
import os
import re
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import dspy
from rules.side import Counter, Result, main
from rules.world import ROWS, World

_FIELD = re.compile(r"\[\[ ## (\w+) ## \]\]\n(.*?)(?=\n\n\[\[ ## |\Z)", re.S)
_OUTPUTS = re.compile(r"Your output fields are:\n(.*?)\nAll interactions", re.S)
# The inputs of DSPy's proposers that hold the instruction to improve.
_CURRENT = ("current_instruction", "basic_instruction")
_THREADS = 4


class WorldEngine:
    """Student and proposer of the world, as an engine of `dspy.LM`."""

    def __init__(self, world: World, counter: Counter) -> None:
        self.world = world
        self.counter = counter

    def complete(self, request: Any) -> Any:
        system = request.system
        if not isinstance(system, str):
            system = "\n".join(part.text for part in system or ())
        turns = [message.text or "" for message in request.messages]
        text = self.reply(system, turns, str(request))
        return dspy.lm15.Response(
            id=None,
            model=request.model,
            message=dspy.lm15.Message.assistant([dspy.lm15.TextPart(text)]),
            finish_reason="stop",
            usage=dspy.lm15.Usage(input_tokens=100, output_tokens=20, total_tokens=120),
        )

    def close(self) -> None:
        """Do nothing."""

    def reply(self, system: str, turns: list[str], draw: str) -> str:
        """Reply as the student or as the proposer, by what is asked for."""
        described = _OUTPUTS.search(system)
        outputs = re.findall(r"^\d+\. `(\w+)`", described[1], re.M) if described else []
        if outputs in (["answer"], ["notes"]):
            self.counter.count(proposer=False)
            values = {outputs[0]: self._answer(system, turns[-1], outputs[0])}
        else:
            self.counter.count(proposer=True)
            asked = "\n".join(turns)
            values = {name: self._propose(name, asked, draw) for name in outputs}
            if "Respond with a JSON object" in turns[-1]:
                return json.dumps(values)
        parts = [f"[[ ## {name} ## ]]\n{value}" for name, value in values.items()]
        return "\n\n".join([*parts, "[[ ## completed ## ]]"])

    def _answer(self, system: str, asked: str, output: str) -> str:
        if output == "answer" and (notes := re.search(r"\[\[ ## notes ## \]\]\n(.*)", asked)):
            return notes[1]
        return self.world.answer(system, asked)

    def _propose(self, output: str, asked: str, draw: str) -> str:
        given: dict[str, str] = dict(_FIELD.findall(asked))
        if output == "module_advice":
            current = given.get("modules_defn", "")
            advice = "\n".join(self.world.proposals(current, asked, draw))
            names = re.findall(r'"(\w+)"', given.get("module_names", "")) or ["self"]
            return json.dumps(dict.fromkeys(names, advice))
        current = next((given[name] for name in _CURRENT if name in given), "")
        return self.world.improve(current, asked, draw)


class TwoSteps(dspy.Module):
    """Notes first, then the answer from them."""

    def __init__(self, declared: str) -> None:
        super().__init__()
        self.plan = dspy.Predict(dspy.Signature("case -> notes", declared))
        self.reply = dspy.Predict(dspy.Signature("case, notes -> answer", "Answer from the notes."))

    def forward(self, case: str) -> Any:
        return self.reply(case=case, notes=self.plan(case=case).notes)


def search(world: World, optimizer: str, calls: int, settings: dict[str, Any]) -> Result:
    """Run one optimizer of DSPy."""
    logging.disable(logging.CRITICAL)
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    counter = Counter()
    lm = dspy.LM("openai/world", engine=WorldEngine(world, counter), cache=False, temperature=1.0)
    dspy.configure(lm=lm, disable_history=True)
    declared = world.declared or " "
    program = (
        TwoSteps(declared)
        if world.steps == 2
        else dspy.Predict(dspy.Signature("case -> answer", declared))
    )
    train, val = (
        [dspy.Example(**row).with_inputs("case") for row in world.rows(part)]
        for part in ("train", "val")
    )

    def metric(gold: Any, pred: Any, trace: Any = None, *_: Any) -> Any:
        score, feedback = world.judge(gold.toDict(), str(getattr(pred, "answer", "")))
        if optimizer in ("copro", "mipro", "infer-rules"):
            return score
        return dspy.Prediction(score=score, feedback=feedback)

    found = _OPTIMIZERS[optimizer](program, train, val, metric, calls, world.seed, settings)
    result = Result(calls=counter.calls, asks=counter.asks)
    if optimizer == "gepa":
        details = found.detailed_results
        best = -1.0
        for one, score, made in zip(
            details.candidates,
            details.val_aggregate_scores,
            details.discovery_eval_counts,
            strict=True,
        ):
            if score > best:
                best = score
                at = counter.calls_after((made + ROWS) * world.steps)
                result.curve.append((at, world.true_score(_instruction(one))))
        result.validation = len(details.candidates) * ROWS / (counter.student / world.steps)
    result.final = world.true_score(_instruction(found))
    result.curve.append((counter.calls, result.final))
    return result


def _instruction(program: Any) -> str:
    return str(next(iter(program.predictors())).signature.instructions)


def _gepa(
    program: Any, train: Any, val: Any, metric: Any, calls: int, seed: int, settings: Any
) -> Any:
    # The proposer is asked about once for every 6 runs of a step.
    steps = len(program.predictors())
    optimizer = dspy.GEPA(
        metric=metric,
        max_metric_calls=round(calls / (steps + 0.05)),
        reflection_lm=dspy.settings.lm,
        num_threads=_THREADS,
        track_stats=True,
        seed=seed,
        **settings,
    )
    return optimizer.compile(program, trainset=train, valset=val)


def _copro(
    program: Any, train: Any, val: Any, metric: Any, calls: int, seed: int, settings: Any
) -> Any:
    depth = max(2, round(calls / (8 * ROWS)))
    optimizer = dspy.COPRO(
        prompt_model=dspy.settings.lm, metric=metric, breadth=8, depth=depth, **settings
    )
    return optimizer.compile(
        program, trainset=train, eval_kwargs={"num_threads": _THREADS, "display_progress": False}
    )


def _mipro(
    program: Any, train: Any, val: Any, metric: Any, calls: int, seed: int, settings: Any
) -> Any:
    optimizer = dspy.MIPROv2(
        metric=metric, auto=None, num_candidates=8, num_threads=_THREADS, seed=seed, **settings
    )
    return optimizer.compile(
        program, trainset=train, valset=val, num_trials=max(1, calls // 50), minibatch_size=35
    )


def _simba(
    program: Any, train: Any, val: Any, metric: Any, calls: int, seed: int, settings: Any
) -> Any:
    steps = max(1, round((calls - 7 * ROWS) / (12 * 16)))
    optimizer = dspy.SIMBA(
        metric=metric, bsize=16, num_candidates=6, max_steps=steps, num_threads=_THREADS, **settings
    )
    return optimizer.compile(program, trainset=train, seed=seed)


def _infer_rules(
    program: Any, train: Any, val: Any, metric: Any, calls: int, seed: int, settings: Any
) -> Any:
    optimizer = dspy.InferRules(
        metric=metric, num_candidates=max(1, calls // ROWS - 1), num_threads=_THREADS, **settings
    )
    return optimizer.compile(program, trainset=train, valset=val)


_OPTIMIZERS = {
    "gepa": _gepa,
    "copro": _copro,
    "mipro": _mipro,
    "simba": _simba,
    "infer-rules": _infer_rules,
}

if __name__ == "__main__":
    main(search)
