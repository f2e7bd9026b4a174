"""Hosted LMs by litellm's names: a provider that reaches for the server."""

import lmpipe
from lmpipe.errors import LMUnavailableError
from lmpipe.settings import make_runtime

lm = lmpipe.LM("anthropic/claude-opus-4-5", api_key="none", base_url="http://127.0.0.1:9")
said = "an answer, though no server listens there"
try:
    with lmpipe.using(runtime=make_runtime(cache=False, attempts=1)):
        lm("Say yes.")
except LMUnavailableError as error:
    said = str(error)
assert "127.0.0.1:9" in said, said
