"""`Playbook`: lessons from single runs, which are collected and never rewritten."""

from __future__ import annotations

from dataclasses import dataclass

from lmpipe.modules.learning import MOST_LESSONS
from lmpipe.optimize.engine.optimizer import Cost, DataclassSettings, Sizes, check_settings
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.playbook_search import PlaybookSearch, block_size
from lmpipe.state.program_state import ProgramState


@dataclass(frozen=True, kw_only=True)
class Playbook(DataclassSettings):
    """Collect lessons: ask what each run that went wrong teaches, and keep what helps.

    The program runs on mini-batches of training examples. The proposer is asked about each run
    that is not right: why, which step has to learn, what lessons are missing, and which of those
    there did harm. Each answer is tried on its own run, and taken up if that gets better. What a
    mini-batch taught is merged into the lessons, which stand after the instruction in prompts: new
    ones are added unless one says the same (by its words, or by its embedding if the recipe has an
    embedder), and the others stay as they are, so that nothing is lost by rewriting. If the result
    is worse on validation examples by more than chance, the whole merge is rolled back, and the
    proposer is told so.

    A lesson counts as helpful when its own run gets better with it, and each time that this
    example is right again; as harmful when another run gets better without it. One that did harm
    at least two times more than it helped is dropped.

    Good with a metric that says in words what is wrong, and for tasks that consist of many rules
    or facts. It leaves the instruction as it is; `GEPA` or another search may go before it in a
    `Chain`. After the compile, `program.learn` adds lessons from single runs.

    Source: "Agentic Context Engineering: Evolving contexts for self-improving language models"
    (arXiv 2510.04618, section 3): generator, reflector, delta updates, grow and refine. It
    deviates in that reflector and curator are one question, since the merge is code; that runs do
    not name the lessons that they used, which costs tokens and is beyond small LMs, but outcomes
    are counted; that a lesson must prove itself on its run; and in the test on validation examples.

    Cost: `2 epochs * train` runs, and a fifth of `val`, but at least 10, for each mini-batch; then
    a validation of `val` runs for each epoch, and for each `val` of the runs before; `epochs *
    train` questions to the proposer, and up to three embeddings for each, if there is an embedder.

    Args:
        epochs: how often the training examples are gone through, 1 or more; it ends when all of
            them are right.
        batch: the number of training examples in a mini-batch, 1 or more.
        lessons: the maximum number of lessons of a predictor, 1 or more; the least helpful ones
            are dropped.

    Raises:
        RecipeError: if a number is out of range.
    """

    epochs: int = 3
    batch: int = 8
    lessons: int = 40
    name: str = "playbook"

    def __post_init__(self) -> None:
        check_settings(self, "epochs", "batch", "lessons", minimum=1, integer=True)

    async def optimize(self, task: Task) -> ProgramState:
        rng = task.rng("playbook")
        search = PlaybookSearch(task, rng, most=self.lessons)
        for _ in range(self.epochs):
            wrong = 0
            order = rng.sample(range(len(task.train)), len(task.train))
            for first in range(0, len(order), self.batch):
                rows = await search.run(order[first : first + self.batch])
                wrong += sum(row.score.value < 1 for row in rows)
                reflections = await search.reflect(rows)
                await search.merge(await search.try_out(reflections))
                await search.keep_pace()
            await search.validate()
            if not wrong or task.best.score >= 1:
                break
        return task.best.state

    def cost(self, sizes: Sizes) -> Cost:
        batches = -(-sizes.train // self.batch)
        runs = self.epochs * (2 * sizes.train + batches * block_size(sizes.val))
        validations = self.epochs + runs // max(1, sizes.val)
        asks = self.epochs * sizes.train
        # Each lesson is embedded once, those of the start among them.
        texts = MOST_LESSONS * asks + self.lessons * sizes.predictors
        return Cost(runs + validations * sizes.val, asks=asks, texts=texts)
