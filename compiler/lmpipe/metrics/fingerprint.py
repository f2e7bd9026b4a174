"""The fingerprint of a metric, which a run's manifest records."""

from __future__ import annotations

from lmpipe.lm.code_fingerprint import code_fingerprint


def metric_fingerprint(metric: object) -> str:
    """Hash a metric's code and settings: 64 hexadecimal digits; see `code_fingerprint`.

    The settings of field metrics and combined metrics are covered.
    """
    return code_fingerprint(metric)
