"""The tickets program with trained weights: prompts first, then a LoRA adapter for each predictor.

    lmpipe compile programs/tickets_weights.py

The student is SmolLM2-135M, served by vLLM, and is its own teacher: what it answers rightly with
demonstrations in its prompt becomes what it learns to answer without them. Needs an environment
with vLLM and one that trains; `lmpipe doctor` tells whether they are there.
"""

from __future__ import annotations

import lmpipe
from programs import tickets

# What a small model on a CPU wants; on a GPU leave `args` and `env` out. vLLM 0.32 for the CPU dies
# of a seeded sample whose prompt comes in chunks ("CPU Generator does not use offset").
ON_CPU = "--dtype bfloat16 --enforce-eager --block-size 32 --max-num-seqs 32"
server = lmpipe.ServerSpec(
    model="local",
    name="smollm2-135m",
    context=2048,
    args=(*ON_CPU.split(), "--no-enable-chunked-prefill"),
    env={"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"},
)
recipe = tickets.recipe.replace(
    optimizer=lmpipe.BetterTogether(
        prompt=lmpipe.KNNFewShot(k=(4,)),
        weights=lmpipe.BootstrapFinetune(samples=2),
    ),
    student=lmpipe.LM("vllm/smollm2-135m", context=2048),
    servers=[server],
    racing=None,  # four kinds of candidates, each scored on all examples
)
