"""`LayoutSearch`: the prompt layout that suits an LM best."""

from __future__ import annotations

from dataclasses import dataclass

from lmpipe.errors import RecipeError
from lmpipe.layouts import layout_named
from lmpipe.layouts.suited_layouts import TRIED_LAYOUTS, UNCONSTRAINED_LAYOUTS, tried_layouts
from lmpipe.modules.offered import can_constrain, offered_layouts
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

    Cost: at most 4 runs of the program for each layout and validation example.

    Args:
        layouts: names of the prompt layouts to try; if None, the three that suit the LM best.
        demos: the number of labeled demonstrations; all candidates that show demonstrations show
            the same ones. 0 tries no demonstrations.

    Raises:
        RecipeError: if there are no layouts, or a number is out of range.
        ConfigError: if a layout has an unknown name.
    """

    layouts: tuple[str, ...] | None = None
    demos: int = 4
    name: str = "layout"

    def __post_init__(self) -> None:
        check_settings(self, "demos", minimum=0, integer=True)
        if self.layouts is not None and not self.layouts:
            raise RecipeError("LayoutSearch(layouts=()): needs one layout or more")
        for layout in self.layouts or ():
            layout_named(layout)

    async def optimize(self, task: Task) -> ProgramState:
        pools = labeled_demos(task.predictors, task.train)
        drawn = {}
        if self.demos:
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
                for layout in tried_layouts(
                    self.layouts, task.student, offered_layouts(task.predictors)
                )
                for constrained in ((True, False) if can_constrain(task.predictors) else (False,))
                if not (constrained and layout in UNCONSTRAINED_LAYOUTS)
                for shown in with_and_without
            ]
        )
        return task.best.state

    def cost(self, sizes: Sizes) -> Cost:
        layouts = TRIED_LAYOUTS if self.layouts is None else len(self.layouts)
        ways = 4 if self.demos else 2
        return Cost(ways * layouts * sizes.val, layouts=self.layouts or ())
