"""BootstrapFinetune: its rows, its adapters, and the gate that keeps those that help."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers.embeddings import scripted_embedder
from helpers.recorder import Recorder
from helpers.trainer import ScriptedTrainer, files
from helpers.world import COLOURS, TwoSteps, answer, recipe, things

import lmpipe
from lmpipe.compiling.notices import CompileWarning
from lmpipe.compiling.run_folder import read_manifest
from lmpipe.errors import ConfigError, RecipeError
from lmpipe.lm.cassettes.cassette import Cassette, Mode
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.optimize.engine.optimizer import Cost, DataclassSettings, Sizes
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.row_rules import NeededRows, PreferredRows, RowPools, RowRuleName
from lmpipe.settings import make_runtime
from lmpipe.weights.settings import TrainingSettings
from lmpipe.weights.training_store import adapters_folder


def right(request: Request) -> str:
    asked = request.messages[-1].content
    kind = next(kind for kind in COLOURS if kind in asked)
    return f"[[colour]]\n{COLOURS[kind]}"


def trained_student(*good: str) -> Callable[[Request], str]:
    """Correct with adapters whose names start with one of these; nonsense with others."""

    def script(request: Request) -> str:
        adapter = request.lm.adapter
        if adapter is None:
            return answer(request)
        if not adapter.startswith(good):
            return ""
        if "few words" in request.messages[0].content:
            return "[[words]]\nwell described"
        return right(request)

    return script


def compiled(tmp_path: Path, trainer: ScriptedTrainer, **changes: Any) -> lmpipe.Run:
    settings: dict[str, Any] = {
        "optimizer": lmpipe.BootstrapFinetune(teacher_demos=8),
        "student": lmpipe.ScriptedLM(trained_student("self")),
        "trainer": trainer,
    }
    return lmpipe.compile(recipe(**{**settings, **changes}), runs=tmp_path / "runs")


def test_weights_that_help_are_kept(tmp_path: Path) -> None:
    run = compiled(tmp_path, ScriptedTrainer())
    adapter = run.state["self"].adapter
    assert adapter is not None
    assert adapter.base == "scripted/scripted"
    assert run.best.score == 1.0
    assert not run.state["self"].demos
    assert run.state["self"].retrieval is None


def test_weights_that_do_not_help_are_not_kept(tmp_path: Path) -> None:
    run = compiled(tmp_path, ScriptedTrainer(), student=lmpipe.ScriptedLM(trained_student("no")))
    assert run.state["self"].adapter is None


def test_rows_come_from_runs_that_passed(tmp_path: Path) -> None:
    trainer = ScriptedTrainer()
    compiled(tmp_path, trainer, optimizer=lmpipe.BootstrapFinetune(teacher_demos=0))
    (rows,) = trainer.rows
    assert 0 < len(rows) < 40
    for row in rows:
        prompt, reply = row["prompt"][-1]["content"], row["completion"][0]["content"]  # type: ignore[index]
        kind = next(kind for kind in COLOURS if kind in prompt)
        assert COLOURS[kind] in reply


def test_only_the_teacher_sees_demonstrations(tmp_path: Path) -> None:
    trainer, lm = ScriptedTrainer(), lmpipe.ScriptedLM(trained_student("self"))
    compiled(tmp_path, trainer, student=lm)
    assert all(len(row["prompt"]) == 2 for row in trainer.rows[0])  # type: ignore[arg-type]
    assert any(len(request.messages) == 2 + 2 * 8 for request in lm.requests)


def test_the_student_may_keep_its_demonstrations(tmp_path: Path) -> None:
    chain = lmpipe.Chain(
        stages=(lmpipe.LabeledFewShot(), lmpipe.BootstrapFinetune(keep_demos=True)),
    )
    trainer = ScriptedTrainer()
    run = compiled(tmp_path, trainer, optimizer=chain)
    assert all(len(row["prompt"]) > 2 for row in trainer.rows[0])  # type: ignore[arg-type]
    assert run.state["self"].demos


def two_steps(tmp_path: Path, *good: str, **settings: Any) -> lmpipe.Run:
    return compiled(
        tmp_path,
        settings.pop("trainer", ScriptedTrainer()),
        program=TwoSteps(),
        student=lmpipe.ScriptedLM(trained_student(*good)),
        optimizer=lmpipe.BootstrapFinetune(**settings),
    )


def test_each_predictor_has_its_own_adapter(tmp_path: Path) -> None:
    trainer = ScriptedTrainer()
    run = two_steps(tmp_path, "describe", "name", trainer=trainer)
    adapter = run.state["name"].adapter
    assert len(trainer.jobs) == 2
    assert adapter is not None
    assert adapter.name.startswith("name-")


def test_an_adapter_that_hurts_is_rolled_back_alone(tmp_path: Path) -> None:
    run = two_steps(tmp_path, "name")
    assert run.state["describe"].adapter is None
    assert run.state["name"].adapter is not None


def test_predictors_may_share_one_adapter(tmp_path: Path) -> None:
    trainer = ScriptedTrainer()
    run = two_steps(tmp_path, "shared", trainer=trainer, shared=True)
    assert len(trainer.jobs) == 1
    assert run.state["describe"].adapter == run.state["name"].adapter is not None


def test_more_samples_give_more_rows(tmp_path: Path) -> None:
    def varied(request: Request) -> str:
        # Further samples of a greedy LM have a temperature.
        return right(request) if request.lm.temperature or request.lm.adapter else "[[colour]]\nred"

    sizes = []
    for samples in (1, 2):
        trainer = ScriptedTrainer()
        compiled(
            tmp_path,
            trainer,
            student=lmpipe.ScriptedLM(varied, name=f"varied {samples}"),
            optimizer=lmpipe.BootstrapFinetune(samples=samples),
        )
        sizes.append(len(trainer.rows[0]))
    assert sizes[0] < sizes[1] <= 40


def test_preference_training_pairs_passed_and_failed_replies(tmp_path: Path) -> None:
    def wavering(request: Request) -> str:
        return right(request) if request.lm.temperature or request.lm.adapter else "[[colour]]\nred"

    trainer = ScriptedTrainer()
    compiled(
        tmp_path,
        trainer,
        student=lmpipe.ScriptedLM(wavering),
        optimizer=lmpipe.BootstrapFinetune(samples=2, training=TrainingSettings(method="dpo")),
    )
    assert trainer.rows[0]
    assert all(row["rejected"][0]["content"] == "[[colour]]\nred" for row in trainer.rows[0])  # type: ignore[index]


def test_without_passed_runs_nothing_is_trained(tmp_path: Path) -> None:
    trainer = ScriptedTrainer()
    run = compiled(tmp_path, trainer, student=lmpipe.ScriptedLM(lambda _: "nonsense"))
    assert trainer.jobs == []
    assert run.state["self"].adapter is None


def test_the_run_folder_has_the_weights_and_their_rows(tmp_path: Path) -> None:
    run = compiled(tmp_path, ScriptedTrainer())
    assert files(run.path / "weights" / "self") >= {
        "adapter_model.safetensors",
        "adapter_config.json",
        "rows.jsonl",
    }


def test_the_manifest_describes_the_training(tmp_path: Path) -> None:
    run = compiled(tmp_path, ScriptedTrainer())
    entry = read_manifest(run.path)["weights"]["self"]
    assert entry["sha256"] == run.state["self"].adapter.sha256  # type: ignore[union-attr]
    assert entry["training"]["curve"] == [[1, 2.0], [2, 1.0]]
    assert entry["training"]["rows"] > 0


@contextmanager
def cached(tmp_path: Path) -> Iterator[None]:
    runtime = make_runtime(cache=tmp_path / "cache")
    with lmpipe.using(runtime=runtime):
        yield
    runtime.close()


@contextmanager
def taped(path: Path, mode: Mode) -> Iterator[None]:
    with Cassette(path, mode=mode) as tape, lmpipe.using(runtime=Runtime(store=tape)):
        yield


def test_a_training_is_not_repeated(tmp_path: Path) -> None:
    first, second = ScriptedTrainer(), ScriptedTrainer()
    with cached(tmp_path):
        one = compiled(tmp_path, first)
        two = compiled(tmp_path, second)
    assert (len(first.jobs), len(second.jobs)) == (1, 0)
    assert one.state == two.state
    assert files(two.path / "weights" / "self") == files(one.path / "weights" / "self")


def test_lost_weights_are_trained_again(tmp_path: Path) -> None:
    first, second = ScriptedTrainer(), ScriptedTrainer()
    with cached(tmp_path):
        compiled(tmp_path, first)
        shutil.rmtree(adapters_folder())
        compiled(tmp_path, second)
    assert len(second.jobs) == 1


def test_a_recorded_compile_is_replayed_without_a_trainer(tmp_path: Path) -> None:
    path, unused = tmp_path / "tape.jsonl", ScriptedTrainer()
    with taped(path, "rewrite"):
        one = compiled(tmp_path, ScriptedTrainer())
    shutil.rmtree(adapters_folder())
    with taped(path, "none"):
        two = compiled(tmp_path / "again", unused)
    assert unused.jobs == []
    assert two.state == one.state


def test_the_cost_is_an_upper_bound(tmp_path: Path) -> None:
    optimizer = lmpipe.BootstrapFinetune(samples=2)
    run = two_steps(tmp_path, "name", samples=2)
    cost = optimizer.cost(Sizes(40, 30, 2))
    assert cost.runs == 2 * 40 + 4 * 30
    assert len(cost.trainings) == 2
    rows = sum(len(candidate.evaluation.rows) for candidate in run.candidates)
    assert rows <= cost.runs + 2 * 30


# --- fewer rows than there are


def trained_rows(tmp_path: Path, **settings: Any) -> list[list[dict[str, Any]]]:
    """Train two predictors by a teacher that is always right; return the rows of each."""
    trainer, changes = ScriptedTrainer(), {"teacher": right_teacher(), "program": TwoSteps()}
    changes |= settings.pop("changes", {})
    compiled(tmp_path, trainer, optimizer=lmpipe.BootstrapFinetune(**settings), **changes)
    return trainer.rows


def right_teacher() -> lmpipe.ScriptedLM:
    return lmpipe.ScriptedLM(trained_student_reply, name="teacher")


def trained_student_reply(request: Request) -> str:
    """Reply right to either of the two predictors."""
    few_words = "few words" in request.messages[0].content
    return "[[words]]\nwell described" if few_words else right(request)


@pytest.mark.parametrize("select", ["random", "need", "diverse", "preferred"])
def test_each_predictor_is_trained_on_as_many_rows_as_are_wanted(
    tmp_path: Path, select: RowRuleName
) -> None:
    every = {str(row) for rows in trained_rows(tmp_path) for row in rows}
    chosen = trained_rows(tmp_path, rows=7, select=select)
    assert [len(rows) for rows in chosen] == [7, 7]
    assert {str(row) for rows in chosen for row in rows} <= every


def test_with_fewer_rows_than_are_wanted_no_rule_is_asked(tmp_path: Path) -> None:
    recorder = Recorder()
    optimizer = lmpipe.BootstrapFinetune(rows=40, select="need")
    lmpipe.compile(
        recipe(optimizer=optimizer, trainer=ScriptedTrainer()), runs=tmp_path, watchers=[recorder]
    )
    assert recorder.of("trial") == []


def test_the_run_says_which_rows_were_chosen_and_what_that_cost(tmp_path: Path) -> None:
    recorder = Recorder()
    optimizer = lmpipe.BootstrapFinetune(rows=7, select="need")
    made = recipe(optimizer=optimizer, teacher=right_teacher(), trainer=ScriptedTrainer())
    lmpipe.compile(made, runs=tmp_path, watchers=[recorder])
    (note,) = [data for kind, data in recorder.notes if kind == "rows"]
    calls = sum(len(row.calls) for row in recorder.of("trial"))
    assert note == {
        "counts": {"self": 7},
        "of": {"self": len(things(40))},
        "rule": "need",
        "calls": calls,
    }
    assert calls >= 40


def test_the_manifest_says_how_rows_were_chosen(tmp_path: Path) -> None:
    optimizer = lmpipe.BootstrapFinetune(rows=7, select="diverse")
    run = compiled(tmp_path, ScriptedTrainer(), optimizer=optimizer, teacher=right_teacher())
    training = read_manifest(run.path)["weights"]["self"]["training"]
    assert training["rows"] == 7
    assert training["chosen"] == {"of": 40, "rule": "diverse", "calls": 0}


def test_shared_weights_count_the_rows_of_all_predictors(tmp_path: Path) -> None:
    optimizer = lmpipe.BootstrapFinetune(rows=7, shared=True)
    changes = {"program": TwoSteps(), "student": lmpipe.ScriptedLM(trained_student("shared"))}
    run = compiled(
        tmp_path, ScriptedTrainer(), optimizer=optimizer, teacher=right_teacher(), **changes
    )
    training = read_manifest(run.path)["weights"]["name"]["training"]
    assert (training["rows"], training["chosen"]["of"]) == (14, 80)


def test_further_samples_of_an_example_come_after_all_examples(tmp_path: Path) -> None:
    def varied(request: Request) -> str:
        # Other words in each sample.
        few_words = "few words" in request.messages[0].content
        sampled = "again" if request.lm.temperature else "once"
        return f"[[words]]\ndescribed {sampled}" if few_words else right(request)

    rows, _ = trained_rows(
        tmp_path,
        samples=2,
        rows=40,
        changes={"teacher": lmpipe.ScriptedLM(varied, name="teacher")},
    )
    assert len({str(row["prompt"]) for row in rows}) == len(rows) == 40


def test_preference_rows_are_chosen_too(tmp_path: Path) -> None:
    def wavering(request: Request) -> str:
        return right(request) if request.lm.temperature or request.lm.adapter else "[[colour]]\nred"

    trainer = ScriptedTrainer()
    training = TrainingSettings(method="dpo")
    optimizer = lmpipe.BootstrapFinetune(samples=2, training=training, rows=5, select="diverse")
    compiled(tmp_path, trainer, student=lmpipe.ScriptedLM(wavering), optimizer=optimizer)
    assert len(trainer.rows[0]) == 5


@dataclass(frozen=True)
class LargestNumbers(DataclassSettings):
    """A rule of a user's own."""

    name: str = "largest numbers"

    async def order(self, task: Task, student: lmpipe.ProgramState, pools: RowPools) -> RowPools:
        return {
            path: sorted(runs, key=lambda run: -int(run.row.example.thing.rpartition(" ")[2]))
            for path, runs in pools.items()
        }

    def cost(self, sizes: Sizes) -> Cost:
        return Cost(0)


def test_a_rule_may_be_of_ones_own(tmp_path: Path) -> None:
    for rows in trained_rows(tmp_path, rows=3, select=LargestNumbers()):
        for number, row in zip((39, 38, 37), rows, strict=True):
            assert f"number {number}" in row["prompt"][-1]["content"]


class Forgetful(LargestNumbers):
    """A rule that returns nothing."""

    async def order(self, task: Task, student: lmpipe.ProgramState, pools: RowPools) -> RowPools:
        return {}


def test_a_rule_that_forgets_a_predictor_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no order of the runs of describe"):
        trained_rows(tmp_path, rows=3, select=Forgetful())


class Wordless(LargestNumbers):
    """A rule whose author forgot to return."""

    async def order(self, task: Task, student: lmpipe.ProgramState, pools: RowPools) -> RowPools:
        return None  # type: ignore[return-value]


def test_a_rule_that_returns_no_mapping_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"returned None: its method order must return a mapping"):
        trained_rows(tmp_path, rows=3, select=Wordless())


def test_settings_have_the_rule_with_its_own_settings() -> None:
    settings = lmpipe.Distill(rows=5, select=NeededRows(eta=2)).settings()
    assert (settings["rows"], settings["select"]) == (5, {"name": "need", "eta": 2})


def test_the_cost_of_the_rule_is_part_of_the_cost() -> None:
    sizes = Sizes(40, 30, 2)
    without = lmpipe.BootstrapFinetune().cost(sizes).runs
    assert lmpipe.BootstrapFinetune(rows=5, select="need").cost(sizes).runs == without + 40
    rule = PreferredRows(neighbors=3)
    assert lmpipe.Distill(rows=5, select=rule).cost(sizes).runs == (
        lmpipe.Distill().cost(sizes).runs + 3 * 40 + 40
    )


@pytest.mark.parametrize("optimizer", [lmpipe.BootstrapFinetune, lmpipe.Distill])
def test_pools_that_are_embedded_are_part_of_the_cost(optimizer: Callable[..., Any]) -> None:
    def pools(**settings: Any) -> int:
        return int(optimizer(**settings).cost(Sizes(40, 30, 2)).pools)

    assert pools() == 1  # those of the teacher's demonstrations
    assert pools(teacher_demos=0) == 0
    assert pools(teacher_demos=0, rows=5, select="diverse") == 1
    assert pools(rows=5, select="diverse") == 2


@pytest.mark.parametrize("optimizer", [lmpipe.BootstrapFinetune, lmpipe.Distill])
def test_a_rule_that_cannot_choose_is_an_error(optimizer: Callable[..., Any]) -> None:
    with pytest.raises(RecipeError, match="must be one of 'random', 'need'"):
        optimizer(rows=5, select="best")
    with pytest.raises(RecipeError, match=r"or an object with the methods of .*RowRule"):
        optimizer(rows=5, select=NeededRows)
    with pytest.raises(RecipeError, match="set rows"):
        optimizer(select="need")
    with pytest.raises(RecipeError, match="rows must be a whole number, 1 or more"):
        optimizer(rows=0.5)


def test_weights_of_another_lm_are_refused(tmp_path: Path) -> None:
    run = compiled(tmp_path, ScriptedTrainer())
    with (
        lmpipe.using(lm=lmpipe.ScriptedLM(right, name="other")),
        pytest.raises(ConfigError, match=r"trained for scripted/scripted.*scripted/other"),
    ):
        run.program(thing="sky number 1")


def test_a_number_out_of_range_is_an_error() -> None:
    with pytest.raises(RecipeError, match="samples must be 1 or more"):
        lmpipe.BootstrapFinetune(samples=0)
    with pytest.raises(RecipeError, match="teacher_demos must be 0 or more"):
        lmpipe.BootstrapFinetune(teacher_demos=-1)
    with pytest.raises(RecipeError, match="threshold must be from 0 to 1"):
        lmpipe.BootstrapFinetune(threshold=1.5)
    with pytest.raises(RecipeError, match="best must be 1 or more"):
        lmpipe.Distill(best=0)
    with pytest.raises(RecipeError, match="samples to 2 or more"):
        lmpipe.BootstrapFinetune(training=TrainingSettings(method="dpo"))


def test_the_teacher_may_be_another_lm(tmp_path: Path) -> None:
    trainer = ScriptedTrainer()
    teacher = lmpipe.ScriptedLM(right, name="teacher")
    compiled(tmp_path, trainer, teacher=teacher)
    assert len(trainer.rows[0]) == len({example.thing for example in things(40)})
    assert all(request.lm.adapter is None for request in teacher.requests)


def test_a_metric_with_parts_judges_each_predictor_by_its_parts(tmp_path: Path) -> None:
    def parts(example: lmpipe.Example, prediction: Any) -> lmpipe.Score:
        return lmpipe.Score(0.5, parts={"words": 1.0, "colour": 0.0})

    trainer = ScriptedTrainer()
    with pytest.warns(CompileWarning, match="below 1"):
        compiled(tmp_path, trainer, program=TwoSteps(), metric=parts)
    (rows,) = trainer.rows
    assert rows
    assert all("[[words]]" in row["completion"][0]["content"] for row in rows)  # type: ignore[index]


def test_demonstrations_found_by_embeddings_cannot_be_kept(tmp_path: Path) -> None:
    stages = (lmpipe.KNNFewShot(), lmpipe.BootstrapFinetune(keep_demos=True))
    with pytest.raises(RecipeError, match="use keep_demos=False"):
        compiled(
            tmp_path,
            ScriptedTrainer(),
            optimizer=lmpipe.Chain(stages=stages),
            embedder=scripted_embedder(),
        )
