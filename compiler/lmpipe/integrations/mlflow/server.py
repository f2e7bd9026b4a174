"""Where the MLflow server is, and who may use it, as its own variables say."""

from __future__ import annotations

import os

from lmpipe.errors import ConfigError
from lmpipe.integrations.registries.json_api import JsonApi, basic


def mlflow_address() -> str:
    """Return the address of the server, without a slash at its end.

    Raises:
        ConfigError: if the environment does not name a server.
    """
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not address.startswith(("http://", "https://")):
        raise ConfigError(
            "MLFLOW_TRACKING_URI does not name a server: set it to the address of MLflow's, such "
            "as http://127.0.0.1:5000"
        )
    return address.rstrip("/")


def mlflow_api() -> JsonApi:
    """Return a client of the server.

    The environment says where: `MLFLOW_TRACKING_URI`, and `MLFLOW_TRACKING_TOKEN`, or
    `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`.
    """
    return JsonApi("MLflow", mlflow_address(), authorization=_authorization())


def _authorization() -> str:
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return f"Bearer {token}"
    user = os.environ.get("MLFLOW_TRACKING_USERNAME", "")
    return basic(user, os.environ.get("MLFLOW_TRACKING_PASSWORD", "")) if user else ""
