"""Convert a GGUF file to a Hugging Face folder; run by the training environment's Python.

    python base_model_script.py MODEL.gguf FOLDER

Works for every architecture whose GGUF files transformers reads. Weights are stored as bfloat16.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> None:
    """Write the weights, the configuration, the tokenizer and its chat template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source, target = Path(sys.argv[1]).resolve(), sys.argv[2]
    model = AutoModelForCausalLM.from_pretrained(
        source.parent,
        gguf_file=source.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.save_pretrained(target)
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    tokenizer.save_pretrained(target)


if __name__ == "__main__":
    # Python puts this folder on the path, where modules of lmpipe could shadow others.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != here]
    main()
