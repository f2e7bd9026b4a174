"""`LayoutSearch`: the prompt layout that suits an LM best."""

from __future__ import annotations

from dataclasses import dataclass

from lmpipe.errors import RecipeError
from lmpipe.layouts import layout_named, layout_names
from lmpipe.optimize.engine.optimizer import Cost, DataclassSettings, Sizes, check_settings
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.draw_demos import draw_from_pools, labeled_demos, with_demos
from lmpipe.state.program_state import ProgramState


@dataclass(frozen=True, kw_only=True)
class LayoutSearch(DataclassSettings):
    """Race the prompt layouts, each with and without constrained outputs and demonstrations.

    A cheap first stage of a `Chain`: the layout of a prompt can matter more to a small LM than its
    content. All predictors get the same layout.

    Source: Sclar et al., "Quantifying language models' sensitivity to spurious features in prompt
    design" (arXiv 2310.11324).

    Cost: at most `4 * len(layouts)` runs of the program for each validation example.

    Args:
        layouts: names of the prompt layouts to try.
        demos: the number of labeled demonstrations, 1 or more; all candidates that show
            demonstrations show the same ones.

    Raises:
        RecipeError: if there are no layouts, or a number is out of range.
        ConfigError: if a layout has an unknown name.
    """

    layouts: tuple[str, ...] = layout_names()
    demos: int = 4
    name: str = "layout"

    def __post_init__(self) -> None:
        check_settings(self, "demos", minimum=1, integer=True)
        if not self.layouts:
            raise RecipeError("LayoutSearch(layouts=()): needs one layout or more")
        for layout in self.layouts:
            layout_named(layout)

    async def optimize(self, task: Task) -> ProgramState:
        pools = labeled_demos(task.predictors, task.train)
        drawn = draw_from_pools(task, pools, self.demos, task.rng("demonstrations"))
        with_and_without = (True, False) if drawn else (False,)
        plain = task.start.without_demos()
        await task.race(
            [
                (
                    f"{layout}{', constrained' if constrained else ''}{', demos' if shown else ''}",
                    with_demos(plain, drawn if shown else {}).map(
                        layout=layout, constrained=constrained
                    ),
                )
                for layout in self.layouts
                for constrained in (True, False)
                for shown in with_and_without
            ]
        )
        return task.best.state

    def cost(self, sizes: Sizes) -> Cost:
        return Cost(4 * len(self.layouts) * sizes.val)
