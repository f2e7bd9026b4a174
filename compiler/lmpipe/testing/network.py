"""`block_network` under its public name; the rooms below `testing` use it too."""

from lmpipe.lm.http.network_block import block_network

__all__ = ["block_network"]
