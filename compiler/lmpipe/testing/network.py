"""The public name of the network block, which is a room below."""

from lmpipe.lm.http.network_block import block_network

__all__ = ["block_network"]
