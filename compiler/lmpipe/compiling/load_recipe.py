"""Load a recipe from a program's file."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from traceback import extract_tb

from lmpipe.compiling.recipe import Recipe, check_program
from lmpipe.errors import LmpipeError, RecipeError
from lmpipe.foundation.termination import Terminated


def load_recipe(target: str | Path) -> Recipe:
    """Run a program's file and return its recipe: of `FILE` the variable `recipe`, or `FILE:NAME`.

    The file's folder and the working folder are added to the import path, so that the file can
    import modules next to it.
    """
    file, colon, name = str(target).rpartition(":")
    if not (colon and file.endswith(".py")):
        file, name = str(target), "recipe"
    path = Path(file)
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else f"no such file (in {Path.cwd()})"
        raise RecipeError(f"{path}: {problem}; give the Python file of a program with a recipe")
    for folder in (str(path.resolve().parent), str(Path.cwd())):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    module_name = f"lmpipe_program_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise RecipeError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except (LmpipeError, Terminated):
        raise
    except (Exception, SystemExit) as error:
        lines = [
            frame.lineno
            for frame in extract_tb(error.__traceback__)
            if Path(frame.filename) == path.resolve()
        ]
        place = f", line {lines[-1]}," if lines else ""
        raise RecipeError(
            f"{path}{place} cannot be run: {type(error).__name__}: {error}"
        ) from error
    recipe = getattr(module, name, None)
    if not isinstance(recipe, Recipe):
        names = [key for key, value in vars(module).items() if isinstance(value, Recipe)]
        hint = f"; it has {', '.join(names)}" if names else ""
        raise RecipeError(
            f"{path} has no recipe called {name!r}{hint}: add "
            f"`{name} = lmpipe.Recipe(program=…, train=…, metric=…)` to it"
        )
    try:
        check_program(recipe)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error
    return recipe if recipe.name else recipe.replace(name=path.stem)
