"""Weights of the hub: the package that fetches them, and the error for a file that is not there."""

import huggingface_hub

from lmpipe.errors import LmpipeError
from lmpipe.lm.embedded import hub_weights

assert huggingface_hub.hf_hub_download
assert hub_weights
assert issubclass(LmpipeError, Exception)
