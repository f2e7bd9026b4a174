"""Start, monitor, query and stop vLLM servers over HTTP.

`guard` and `process` make sure that a server never outlives its owner; `startup` starts one;
`server` talks to a running one; `fleet` decides which servers run when.
"""

from __future__ import annotations

from lmpipe.serving.fleet import Fleet
from lmpipe.serving.metrics import ServerMetrics
from lmpipe.serving.server import ServedModel, VLLMServer, attach
from lmpipe.serving.spec import AdapterLimits, ServerSpec
from lmpipe.serving.startup import start_server

__all__ = [
    "AdapterLimits",
    "Fleet",
    "ServedModel",
    "ServerMetrics",
    "ServerSpec",
    "VLLMServer",
    "attach",
    "start_server",
]
