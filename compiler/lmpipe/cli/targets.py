"""Opening a command's TARGET (a run folder or a program's file) and the runtime for its calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lmpipe.cli.cassettes import open_cassette, using_cassette
from lmpipe.cli.failures import say_error
from lmpipe.cli.instrumented import instrumented
from lmpipe.cli.options import RuntimeOptions, TargetOptions
from lmpipe.cli.overrides import Overrides
from lmpipe.compiling.declared_instructions import changed_instructions
from lmpipe.compiling.load_recipe import load_recipe
from lmpipe.compiling.load_run import bind_artifact, origin_of, trusted_recipe, with_data_in
from lmpipe.compiling.recipe import Recipe
from lmpipe.compiling.run_folder import Artifact, read_artifact
from lmpipe.compiling.run_weights import attach_weights
from lmpipe.errors import RecipeError
from lmpipe.lm.cassettes.layered_store import LayeredStore
from lmpipe.lm.lm import LM
from lmpipe.modules.module import Module
from lmpipe.report.run_files import parse_manifest
from lmpipe.settings import configured_lm, current_settings, make_runtime, using

if TYPE_CHECKING:
    from lmpipe.data.example import Example
    from lmpipe.evaluation.results import Evaluation
    from lmpipe.integrations.open_telemetry.instrument import Instrumentation
    from lmpipe.report.progress import ProgressView


@dataclass(frozen=True)
class OpenTarget:
    """A target that was opened, as the user named it.

    The recipe has the changes of its compile and of this command. The program runs on `student`:
    the recipe's, or else the configured LM. If the target is a run folder, the program is bound to
    what was learned, and `artifact` is the folder.
    """

    name: str
    recipe: Recipe
    program: Module
    artifact: Artifact | None

    @property
    def student(self) -> LM:
        """The LM that the program runs on."""
        return self.recipe.student or configured_lm()

    @property
    def has_compiled_lm(self) -> bool:
        """Whether the program runs on the LM that it was compiled for."""
        if self.artifact is None:
            return True
        return bool(self.artifact.manifest.get("student") == self.student.identity())


def is_run_folder(target: str) -> bool:
    """Whether a target is a folder, and so must be a run folder, rather than a program's file."""
    if Path(target).is_dir():
        return True
    file, _ = split_target(target)
    if not file.endswith(".py") or not Path(file).is_file():
        raise RecipeError(
            f"{target}: expected a run folder or a program's .py file, found neither; "
            "`lmpipe runs` lists the run folders"
        )
    return False


def split_target(target: str) -> tuple[str, str]:
    """Split `FILE.py:NAME` into the file and `:NAME`, which is empty if no recipe is named."""
    if ".py:" not in target:
        return target, ""
    file, _, name = target.rpartition(":")
    return file, f":{name}"


def open_target(options: TargetOptions, changes: Overrides) -> OpenTarget:
    """Open a run folder or a program's file with some changes; runs the program's file."""
    if not is_run_folder(options.target):
        recipe = changes.apply(load_recipe(options.target))
        return OpenTarget(options.target, recipe, recipe.program, None)
    artifact = read_artifact(options.target)
    return open_artifact(artifact, declared_recipe(artifact, options), options, changes)


def declared_recipe(artifact: Artifact, options: TargetOptions) -> Recipe:
    """Return the recipe of a run folder as its file declares it; runs that file."""
    if options.program is not None:
        return load_recipe(str(options.program))
    return trusted_recipe(artifact, trust=options.trust)


def open_artifact(
    artifact: Artifact, declared: Recipe, options: TargetOptions, changes: Overrides
) -> OpenTarget:
    """Bind what a run learned to the program of a recipe, with some changes; runs no code."""
    manifest = parse_manifest(artifact.manifest, artifact.path)  # what follows relies on it
    compiled_with = Overrides.from_json(artifact.manifest.get("overrides", {}))
    if options.program is not None:
        # An untrusted folder must not send data or keys to a server of its choice.
        recipe = compiled_with.numbers().apply(declared)
    else:
        recipe = with_data_in(compiled_with.apply(declared), origin_of(artifact))
    recipe = changes.apply(recipe)
    program = bind_artifact(recipe.program, artifact)
    opened = OpenTarget(options.target, recipe, program, artifact)
    if changed := changed_instructions(recipe.program, artifact):
        say_error(f"warning: {changed}")
    if changes.student is None and not opened.has_compiled_lm:
        say_error(
            f"note: the run was compiled for {manifest.student}, but the program "
            f"runs on {opened.student} here; choose the LM with --student"
        )
    return opened


def attach_servers(opened: OpenTarget) -> None:
    """Let the runtime start servers for LMs without an address and load the target's weights."""
    recipe = opened.recipe
    attach_weights(
        opened.program.state(),
        opened.artifact.path if opened.artifact else Path(),
        current_settings().runtime,
        servers=recipe.servers,
        lms=[opened.student, *filter(None, [recipe.judge, recipe.embedder])],
    )


@contextmanager
def open_runtime(
    options: RuntimeOptions, *, view: ProgressView | None = None, cached: bool = True
) -> Iterator[Instrumentation | None]:
    """Use a runtime for one command, and close it at the end; the view is notified of retries.

    Yields:
        What sends traces and metrics, if they are wanted.
    """
    cassette = open_cassette(options.record, options.replay, record_tools=options.record_tools)
    runtime = make_runtime(
        cache=False if options.replay or not cached else options.cache or True,
        max_in_flight=max(64, options.concurrency),
        attempts=options.attempts,
        on_retry=view.retry if view else None,
    )
    if cassette is not None:
        runtime.store = LayeredStore(cassette, runtime.store)
    try:
        # The configured LM stays: the LM calls of a metric must not go to the student.
        with (
            instrumented(options.otel) as instrumentation,
            using(lm=configured_lm(), runtime=runtime),
            using_cassette(cassette),
        ):
            yield instrumentation
    finally:
        runtime.close()


def evaluate_target(
    target: OpenTarget,
    examples: Sequence[Example],
    *,
    scored_by: OpenTarget,
    concurrency: int,
    save_to: Path | None = None,
    progress: bool,
) -> Evaluation:
    """Run a target's program on its LM, scored by the metric and the judge of a recipe.

    Args:
        target: what runs.
        examples: what it runs on.
        scored_by: the target with the recipe.
        concurrency: how many examples run at the same time.
        save_to: the file for the rows.
        progress: whether progress is shown.
    """
    from lmpipe.evaluation.evaluate import evaluate

    return evaluate(
        target.program,
        examples,
        scored_by.recipe.metric,
        lm=target.student,
        judge=scored_by.recipe.judge,
        concurrency=concurrency,
        save_to=save_to,
        progress=progress,
    )
