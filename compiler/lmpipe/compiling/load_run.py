"""`load` a compiled program from its run folder, with the recipe that its manifest names."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lmpipe.compiling.declared_instructions import InstructionWarning, changed_instructions
from lmpipe.compiling.load_recipe import load_recipe
from lmpipe.compiling.recipe import Recipe
from lmpipe.compiling.run_folder import Artifact, read_artifact
from lmpipe.compiling.run_weights import adapters_of, attach_weights
from lmpipe.data.source import Data, Source
from lmpipe.errors import ArtifactError
from lmpipe.modules.module import Module
from lmpipe.serving.spec import ServerSpec
from lmpipe.settings import configured_lm, current_settings
from lmpipe.signatures.signature_spec import spec_text
from lmpipe.weights.trainings import WEIGHTS


def load(path: str | Path, program: Module | None = None, *, trust: bool = False) -> Module:
    """Load a compiled program from its run folder.

    Args:
        path: the run folder.
        program: the program that was compiled.
        trust: if `program` is not given, run the file that the manifest names to get it. Only for
            folders that you trust: that file is code.

    Raises:
        ArtifactError: if the folder is damaged, belongs to another program, or its code would
            have to run without `trust`.

    Warns:
        InstructionWarning: if the program declares other instructions than when it was compiled.
    """
    artifact = read_artifact(path)
    servers: Sequence[ServerSpec] = ()
    lms = [configured_lm()]
    if program is None:
        recipe = trusted_recipe(artifact, trust=trust)
        program, servers = recipe.program, recipe.servers
        if recipe.student is not None:
            lms.insert(0, recipe.student)
    bound = bind_artifact(program, artifact)
    if changed := changed_instructions(program, artifact):
        warnings.warn(changed, InstructionWarning, stacklevel=2)
    if (artifact.path / WEIGHTS).is_dir() or adapters_of(artifact.state):
        runtime = current_settings().runtime
        attach_weights(artifact.state, artifact.path, runtime, servers=servers, lms=lms)
    return bound


def bind_artifact(program: Module, artifact: Artifact) -> Module:
    """Bind a program to the state in a run folder; the error for another shows both signatures."""
    try:
        return program.bind(artifact.state)
    except ArtifactError as error:
        signatures = artifact.manifest.get("program", {}).get("signatures", {})
        learned = "\n".join(f"  {path}: {spec_text(item)}" for path, item in signatures.items())
        raise ArtifactError(f"{error}\nit was learned for\n{learned}") from error


def trusted_recipe(artifact: Artifact, *, trust: bool) -> Recipe:
    """Load the recipe from the file that a manifest names, if the folder is trusted."""
    file = str(artifact.manifest.get("program", {}).get("file", ""))
    if not trust:
        needed = f"run {file}, which it names" if file else "have its program"
        raise ArtifactError(
            f"{artifact.path} holds only data; to load it, lmpipe would have to {needed}\n"
            "  pass the program, or trust the folder: load(path, program) or load(path, "
            "trust=True); on the command line --program FILE or --trust"
        )
    if not file:
        raise ArtifactError(
            f"{artifact.path} was compiled by Python code, so its manifest names no file: pass the "
            "program to load(), or give its file with --program FILE"
        )
    name, origin = file.rpartition(":")[0] if ".py:" in file else file, origin_of(artifact)
    for folder in (origin, Path.cwd()):
        if (folder / name).is_file():
            return load_recipe(folder / file)
    raise ArtifactError(
        f"{artifact.path} was compiled from {name}, which is neither in {origin} nor in "
        f"{Path.cwd()}: give the program's file with --program FILE, or pass the program to load()"
    )


def origin_of(artifact: Artifact) -> Path:
    """Return the folder that a compile was run in; paths in a recipe and a manifest start there.

    Manifests of older versions do not tell: by default it is two folders above the run folder.
    """
    folder: str = artifact.manifest.get("program", {}).get("folder", "../..")
    return (artifact.path.resolve() / folder).resolve()


def with_data_in(recipe: Recipe, folder: Path) -> Recipe:
    """Return a recipe whose files of data are looked for in a folder after the working folder."""
    sources = {name: getattr(recipe, name) for name in ("train", "val", "test")}
    return recipe.replace(**{name: _in(data, folder) for name, data in sources.items()})


def _in(data: Data | None, origin: Path) -> Data | None:
    if not isinstance(data, Source) or Path(data.source).exists():
        return data
    found = origin / data.source
    return replace(data, source=found) if found.is_file() else data
