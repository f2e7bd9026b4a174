"""Run one compile with one of DSPy's optimizers: `python -m compiling.dspy_side --help`.

DSPy as documented: 16 threads, a fresh disk cache (so that a call that is repeated within the
compile is paid once), no early end because of failed rows. The metric is lmpipe's code, so that
both sides judge rows alike.
"""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ.setdefault("DSPY_CACHEDIR", tempfile.mkdtemp(prefix="dspy-cache-"))

import dspy
from compiling.nearest import TfIdf
from compiling.side import Job, begin

import lmpipe
from lmpipe.metrics import exact_match
from metrics.tickets import ticket_score

MANY = 10**6
MAX_TOKENS = 64
"""For one answer; tickets get more, because DSPy's layout spells out three fields."""
MAX_TICKET_TOKENS = 128

Team = Literal["billing", "shipping", "returns", "technical", "account"]


class RouteTicket(dspy.Signature):
    """Route a customer's message to the team that should answer it."""

    message: str = dspy.InputField()
    team: Team = dspy.OutputField()


class ReadDetails(dspy.Signature):
    """Copy the details out of a customer's message."""

    message: str = dspy.InputField()
    order: str | None = dspy.OutputField(desc="the order number, like FH-12345")
    product: str | None = dspy.OutputField(desc="the product that it is about")
    amount: float | None = dspy.OutputField(desc="the money amount, without the currency")


class Tickets(dspy.Module):
    """The program of `programs/tickets.py`."""

    def __init__(self) -> None:
        super().__init__()
        self.route = dspy.Predict(RouteTicket)
        self.details = dspy.Predict(ReadDetails)

    def forward(self, message: str) -> Any:
        routed = self.route(message=message)
        details = self.details(message=message)
        return dspy.Prediction(
            team=routed.team, order=details.order, product=details.product, amount=details.amount
        )


class Classify(dspy.Module):
    """`text -> label`, with the labels in alphabetical order."""

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__()
        kind = Literal[tuple(labels)]  # type: ignore[valid-type]
        signature = dspy.Signature(
            {"text": (str, dspy.InputField()), "label": (kind, dspy.OutputField())}
        )
        self.classify = dspy.Predict(signature)

    def forward(self, text: str) -> Any:
        return self.classify(text=text)


class TolerantMIPROv2(dspy.MIPROv2):
    """MIPROv2 that drops a proposal which cannot be parsed; the released version stops there.

    This is not a setting of DSPy: with a small model as its own proposer, the released version may
    never reach the search.
    """

    def _propose_instructions(self, program: Any, *args: Any, **kwargs: Any) -> Any:
        from dspy.propose.grounded_proposer import GroundedProposer

        ask = GroundedProposer.propose_instruction_for_predictor

        def tolerant(proposer: Any, *, predictor: Any, **rest: Any) -> str:
            try:
                return str(ask(proposer, predictor=predictor, **rest))
            except dspy.utils.exceptions.AdapterParseError:
                return str(predictor.signature.instructions)

        GroundedProposer.propose_instruction_for_predictor = tolerant
        try:
            return super()._propose_instructions(program, *args, **kwargs)
        finally:
            GroundedProposer.propose_instruction_for_predictor = ask


class DspySide:
    """The program, the metric and the optimizers for one job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        task = job.options.task
        self.inputs = ("message",) if task == "tickets" else ("text",)
        self.train, self.val, self.test = (
            [dspy.Example(**row).with_inputs(*self.inputs) for row in rows]
            for rows in (job.rows.train, job.rows.val, job.rows.test)
        )
        self.judge: Any = ticket_score if task == "tickets" else exact_match("label")
        self.fields = ("team", "order", "product", "amount") if task == "tickets" else ("label",)
        self.threads = job.options.threads
        max_tokens = MAX_TICKET_TOKENS if task == "tickets" else MAX_TOKENS
        self.lm = self._lm(temperature=0.0, max_tokens=max_tokens)
        self.proposer = self._lm(temperature=1.0, max_tokens=job.options.proposal_tokens)
        dspy.configure(lm=self.lm, max_errors=MANY)
        job.result.settings |= {
            "temperature": 0.0,
            "max_tokens": max_tokens,
            "proposer_max_tokens": job.options.proposal_tokens,
            "threads": self.threads,
            "dspy": dspy.__version__,
        }

    def _lm(self, **settings: Any) -> Any:
        options = self.job.options
        return dspy.LM(f"openai/{options.model}", api_base=options.url, api_key="x", **settings)

    def program(self) -> Any:
        if self.job.options.task == "tickets":
            return Tickets()
        return Classify(self.job.rows.labels())

    def score(self, example: Any, prediction: Any) -> lmpipe.Score:
        """Apply lmpipe's metric to DSPy's rows."""
        wanted = lmpipe.Example(**{name: example[name] for name in self.fields})
        found = {name: getattr(prediction, name, None) for name in self.fields}
        score: lmpipe.Score = self.judge(wanted, lmpipe.Example(**found), None)
        return score

    def metric(self, example: Any, prediction: Any, trace: Any = None) -> float:
        return self.score(example, prediction).value

    def feedback(
        self,
        gold: Any,
        pred: Any,
        trace: Any = None,
        pred_name: Any = None,
        pred_trace: Any = None,
    ) -> Any:
        score = self.score(gold, pred)
        return dspy.Prediction(score=score.value, feedback=score.feedback or "")

    def knn(self, *, k: int = 7) -> Any:
        texts = [str(row[self.inputs[0]]) for row in self.job.rows.train]
        optimizer = dspy.KNNFewShot(
            k,
            self.train,
            vectorizer=dspy.Embedder(TfIdf(texts).vectors, caching=False),
            max_bootstrapped_demos=0,
            max_labeled_demos=k,
        )
        return optimizer.compile(self.program())

    def labeled(self, *, k: int = 8) -> Any:
        return dspy.LabeledFewShot(k=k).compile(self.program(), trainset=self.train)

    def random_search(self, *, candidates: int = 10) -> Any:
        optimizer = dspy.BootstrapFewShotWithRandomSearch(
            metric=self.metric,
            max_bootstrapped_demos=4,
            max_labeled_demos=8,
            num_candidate_programs=candidates,
            num_threads=self.threads,
            max_errors=MANY,
        )
        return optimizer.compile(self.program(), trainset=self.train, valset=self.val)

    def mipro(
        self,
        *,
        tolerant: bool = False,
        auto: str | None = "light",
        candidates: int | None = None,
        trials: int | None = None,
        aware: bool = True,
    ) -> Any:
        """MIPROv2.

        Args:
            tolerant: Drop proposals that cannot be parsed.
            auto: The size of the search, unless `candidates` is given.
            candidates: The number of instructions, and of sets of demonstrations.
            trials: The number of combinations to try.
            aware: Show the proposer the program, a summary of the data and a tip; each costs LM
                calls.
        """
        kind = TolerantMIPROv2 if tolerant else dspy.MIPROv2
        optimizer = kind(
            metric=self.metric,
            auto=None if candidates else auto,
            num_candidates=candidates,
            prompt_model=self.proposer,
            max_bootstrapped_demos=4,
            max_labeled_demos=8,
            num_threads=self.threads,
            max_errors=MANY,
            seed=9 + self.job.options.seed,
        )
        return optimizer.compile(
            self.program(),
            trainset=self.train,
            valset=self.val,
            num_trials=trials,
            program_aware_proposer=aware,
            data_aware_proposer=aware,
            tip_aware_proposer=aware,
        )

    def gepa(self, *, auto: str | None = "light", max_metric_calls: int | None = None) -> Any:
        optimizer = dspy.GEPA(
            metric=self.feedback,
            auto=None if max_metric_calls else auto,
            max_metric_calls=max_metric_calls,
            reflection_lm=self.proposer,
            num_threads=self.threads,
            track_stats=True,
            add_format_failure_as_feedback=True,
            seed=self.job.options.seed,
        )
        return optimizer.compile(self.program(), trainset=self.train, valset=self.val)

    def zero_shot(self) -> Any:
        return self.program()

    def evaluate(self, program: Any) -> list[float]:
        run = dspy.Evaluate(
            devset=self.test,
            metric=self.metric,
            num_threads=self.threads,
            max_errors=MANY,
            display_progress=False,
        )
        return [float(score) for _, _, score in run(program).results]


def watch(job: Job, size: int) -> None:
    """Record every evaluation on as many rows as the validation set has."""
    run = dspy.Evaluate.__call__

    def watched(self: Any, program: Any, *args: Any, **kwargs: Any) -> Any:
        result = run(self, program, *args, **kwargs)
        devset = kwargs.get("devset") or self.devset
        if job.result.status == "running" and len(devset) == size:
            job.scored(float(result.score))
        return result

    dspy.Evaluate.__call__ = watched


def main(arguments: Sequence[str] | None = None) -> None:
    names = ("zero-shot", "labeled", "knn", "random-search", "mipro", "gepa")
    job = begin("dspy", names, arguments)
    side = DspySide(job)
    optimizers: Mapping[str, Callable[..., Any]] = {
        "zero-shot": side.zero_shot,
        "labeled": side.labeled,
        "knn": side.knn,
        "random-search": side.random_search,
        "mipro": side.mipro,
        "gepa": side.gepa,
    }
    watch(job, len(job.rows.val))
    job.write()
    try:
        compiled = optimizers[job.options.optimizer](**job.options.settings)
    except Exception as error:  # its spend and its traceback are results too
        traceback.print_exc()
        job.ended(f"ended by {type(error).__name__}: {str(error)[:300]}")
        raise SystemExit(1) from error
    since = job.searched()
    job.result.status = "testing"
    job.tested(side.evaluate(compiled), since)


if __name__ == "__main__":
    main()
