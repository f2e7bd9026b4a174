"""The embedded engine; where the default weights are in the user's cache, they answer."""

import os
from pathlib import Path

import lmpipe
from lmpipe.lm.embedded.xllamacpp_engine import XllamacppEngine

assert XllamacppEngine
import xllamacpp  # noqa: E402

assert xllamacpp.__version__

weights = Path("~/.cache/lmpipe/weights/SmolLM2-135M-Instruct.Q8_0.gguf").expanduser()
if weights.is_file() and not os.environ.get("LMPIPE_MATRIX_NO_LM"):
    lm = lmpipe.LM(f"local/{weights}", max_tokens=4, context=256)
    assert lm("Say yes.").text
