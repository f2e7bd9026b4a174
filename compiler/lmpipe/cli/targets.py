"""What TARGET stands for: a run folder or a program's file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lmpipe.cli.cassettes import open_cassette, using_cassette
from lmpipe.cli.overrides import LMChoice, Overrides, RateOptions
from lmpipe.compiling.compile import bind_artifact, trusted_recipe
from lmpipe.compiling.load_recipe import load_recipe
from lmpipe.compiling.provisioning import attach_weights
from lmpipe.compiling.recipe import Recipe
from lmpipe.compiling.run_folder import Artifact, read_artifact
from lmpipe.errors import RecipeError
from lmpipe.modules.module import Module
from lmpipe.settings import configured_lm, current_settings, make_runtime, using

if TYPE_CHECKING:
    from lmpipe.report.progress import ProgressView


@dataclass(frozen=True)
class OpenTarget:
    """A target that was opened.

    Args:
        name: what to call it.
        recipe: the recipe, with what the compile and this command changed of it.
        program: the program; bound to what was learned if the target is a run folder.
        artifact: the run folder, or None.
    """

    name: str
    recipe: Recipe
    program: Module
    artifact: Artifact | None


def is_run_folder(target: str) -> bool:
    """Whether a target is a folder, and so must be a run folder.

    Raises:
        RecipeError: if it is neither a folder nor a program's file.
    """
    if Path(target).is_dir():
        return True
    file = target.rpartition(":")[0] if ".py:" in target else target
    if not file.endswith(".py") or not Path(file).is_file():
        raise RecipeError(
            f"{target}: expected a run folder or a program's .py file, there is neither here; "
            "`lmpipe runs` lists the run folders"
        )
    return False


def open_target(
    target: str,
    *,
    program: Path | None,
    trust: bool,
    student: LMChoice | None = None,
    embedder: LMChoice | None = None,
    traffic: RateOptions | None = None,
) -> OpenTarget:
    """Open a run folder or a program's file; runs the program's file.

    Raises:
        InputError: if there is no such target, it is damaged, not trusted or of another program.
    """
    changed = Overrides(student=student, embedder=embedder, traffic=traffic)
    if not is_run_folder(target):
        recipe = changed.apply(load_recipe(target))
        return OpenTarget(target, recipe, recipe.program, None)
    artifact = read_artifact(target)
    made_with = Overrides.from_json(artifact.manifest.get("overrides", {}))
    if program is not None:
        # An untrusted folder must not send data or keys to a server of its choice.
        recipe = made_with.numbers().apply(load_recipe(str(program)))
    else:
        recipe = made_with.apply(trusted_recipe(artifact, trust=trust))
    recipe = changed.apply(recipe)
    opened = OpenTarget(target, recipe, bind_artifact(recipe.program, artifact), artifact)
    if student is None and not same_lm(opened):
        typer.echo(
            f"note: the run was compiled for {artifact.manifest['student']['model']}, the program "
            f"names {recipe.student.model}; --student chooses the LM",
            err=True,
        )
    return opened


def same_lm(opened: OpenTarget) -> bool:
    """Whether the program runs on the very LM that it was compiled for."""
    if opened.artifact is None:
        return True
    return bool(opened.artifact.manifest.get("student") == opened.recipe.student.identity())


def attach_servers(opened: OpenTarget) -> None:
    """Have the road start servers for LMs without an address, and load the target's weights.

    Raises:
        ArtifactError: if the weights are not those that were learned.
    """
    attach_weights(
        opened.program.state(),
        opened.artifact.path if opened.artifact else Path(),
        current_settings().runtime,
        servers=opened.recipe.servers,
        lms=[opened.recipe.student, *filter(None, [opened.recipe.embedder])],
    )


@contextmanager
def open_runtime(
    *,
    cache: Path | None,
    concurrency: int = 64,
    attempts: int | None = None,
    view: ProgressView | None = None,
    record: Path | None = None,
    replay: Path | None = None,
) -> Iterator[None]:
    """The road to the LM for one command; closed at its end.

    Raises:
        InputError: if there is no cassette to replay, or it is damaged.
    """
    cassette = open_cassette(record, replay)
    runtime = make_runtime(
        cache=False if replay else cache or True,
        max_in_flight=max(64, concurrency),
        attempts=attempts,
        on_retry=view.retry if view else None,
    )
    if cassette is not None:
        runtime.store = cassette.over(runtime.store)
    try:
        # The student is not what a metric's own calls are to go to.
        with using(lm=configured_lm(), runtime=runtime), using_cassette(cassette):
            yield
    finally:
        runtime.close()
