"""Model servers: vLLM is started, watched, asked and stopped here, over HTTP alone.

`spec` says what is to be served and `find` how vLLM is called; `guard` and `process` keep a server
from outliving its owner; `server` starts one and talks to it; `fleet` decides which run when.
"""

from __future__ import annotations

from lmpipe.serving.fleet import Fleet
from lmpipe.serving.metrics import ServerMetrics
from lmpipe.serving.server import ServedModel, VLLMServer, attach, start_server
from lmpipe.serving.spec import AdapterLimits, ServerSpec

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
