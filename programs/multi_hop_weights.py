"""Multi-hop questions with a small fine-tuned student: the last row of the paper's second table.

    lmpipe compile programs/multi_hop_weights.py --teacher vllm/<a larger model>

The teacher answers the training questions with labeled demonstrations in its prompts. A LoRA
adapter for each predictor of the student is trained on the runs that came to the right answer, to
do the same without demonstrations. The student and its server are those of
`programs/tickets_weights.py`, which says what this needs; without `--teacher` it teaches itself.
"""

from __future__ import annotations

import lmpipe
from programs import multi_hop, tickets_weights

recipe = multi_hop.hops_bootstrap.replace(
    optimizer=lmpipe.BootstrapFinetune(samples=2, teacher_demos=4),
    student=tickets_weights.recipe.student,
    servers=tickets_weights.recipe.servers,
    name="multi-hop-weights",
)
