"""Read the outputs of a task from the steps of an agent, if all of them are too long."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from lmpipe.errors import LMRequestError
from lmpipe.lm.refusals import exceeds_context
from lmpipe.modules.agents.compaction import estimate_tokens, shorten_observations
from lmpipe.modules.known_copies import known_copies
from lmpipe.modules.predict import Predict
from lmpipe.signatures.field_types.trajectory import Trajectory


async def read_from_shorter(
    extract: Predict[..., Any],
    inputs: Mapping[str, Any],
    trajectory: Trajectory,
    error: LMRequestError,
) -> Any:
    """Ask a predictor for the outputs again, which the server refused as its prompt was too long.

    A request that was refused is one of its retries, so that it makes no more of them than plans
    count.

    Args:
        extract: the predictor.
        inputs: its inputs beside the trajectory.
        trajectory: the steps, which are too long.
        error: of the request.

    Raises:
        OutputError: if no reply can be read.
        LMError: if the LM cannot be reached or refuses the request: `error`, if no retry is left
            or it is another one.
    """
    for left in range(extract.retries - 1, -1, -1):
        if not trajectory.steps or not exceeds_context(str(error)):
            break
        trajectory = shorten_observations(trajectory, estimate_tokens(trajectory) // 3)
        again = copy.copy(extract)
        again.retries = left
        try:
            with known_copies({id(again): id(extract)}):
                return await again.acall(**inputs, trajectory=trajectory)
        except LMRequestError as refused:
            error = refused
    raise error
