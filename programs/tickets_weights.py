"""The tickets program with trained weights: prompts first, then a LoRA adapter for each predictor.

    lmpipe compile programs/tickets_weights.py

The student is SmolLM2-135M, served by vLLM. It is also the teacher: the student is trained on its
correct answers with demonstrations in the prompt, to give them without demonstrations. This needs
an environment with vLLM and one for training; `lmpipe doctor` checks both.
"""

from __future__ import annotations

import lmpipe
from programs import tickets

# Settings for a small model on a CPU; omit `args` and `env` on a GPU. Chunked prefill is off, as
# it makes vLLM 0.32 for CPUs crash on seeded samples ("CPU Generator does not use offset").
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
    racing=None,  # score all four kinds of candidates on all validation examples
)
