"""The tickets program with trained weights: prompts first, then a LoRA adapter for each predictor.

    lmpipe compile programs/tickets_weights.py

The student is SmolLM2-135M, served by vLLM, and is its own teacher: what it answers rightly with
demonstrations in its prompt becomes what it learns to answer without them. Needs an environment
with vLLM and one that trains; `lmpipe doctor` tells whether they are there.
"""

from __future__ import annotations

import lmpipe
from metrics.tickets import ticket_score
from programs.tickets import Tickets, tickets

# What a small model on a CPU wants; on a GPU leave `args` and `env` out.
server = lmpipe.ServerSpec(
    model="local",
    name="smollm2-135m",
    context=2048,
    args=("--dtype", "bfloat16", "--enforce-eager", "--block-size", "32", "--max-num-seqs", "32"),
    env={"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"},
)
recipe = lmpipe.Recipe(
    program=Tickets(),
    train=tickets("train"),
    val=tickets("val"),
    test=tickets("test"),
    metric=ticket_score,
    optimizer=lmpipe.BetterTogether(
        prompt=lmpipe.KNNFewShot(k=(4,)),
        weights=lmpipe.BootstrapFinetune(samples=2),
    ),
    student=lmpipe.LM("vllm/smollm2-135m", context=2048),
    servers=[server],
    val_size=40,
    race=False,  # four kinds of candidates, each to be seen whole
)
