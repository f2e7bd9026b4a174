"""Read the outputs of a task from the steps of an agent that ended without them."""

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


async def read_outputs(
    extract: Predict[..., Any], inputs: Mapping[str, Any], trajectory: Trajectory
) -> Any:
    """Ask a predictor for the outputs; of shorter steps, if the server finds the prompt too long.

    A request that was refused is one of its retries, so that it makes no more of them than plans
    count.

    Args:
        extract: the predictor.
        inputs: its inputs beside the trajectory.
        trajectory: the steps.

    Raises:
        OutputError: if no reply can be read.
        LMError: if the LM cannot be reached or refuses the request.
    """
    left, asked = extract.retries, extract
    while True:
        try:
            with known_copies({} if asked is extract else {id(asked): id(extract)}):
                return await asked.acall(**inputs, trajectory=trajectory)
        except LMRequestError as error:
            if not left or not trajectory.steps or not exceeds_context(str(error)):
                raise
        left -= 1
        asked = copy.copy(extract)
        asked.retries = left
        trajectory = shorten_observations(trajectory, estimate_tokens(trajectory) // 3)
