"""The environment variables that a child process may see."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lmpipe.foundation.redaction import is_secret_name, public_url

# What reads models from the hub needs its token; proxies are addresses that may have a password.
_KEPT = re.compile(r"(HF|HUGGING_?FACE|VLLM)_.*|.*_PROXY", re.IGNORECASE)


def child_environment(base: Mapping[str, str], *, keep: str = "") -> dict[str, str]:
    """Return an environment without the secrets of services that a child does not use.

    Args:
        base: the environment of this process.
        keep: a regular expression for the names of further variables that the child needs.
    """
    return {
        name: value
        for name, value in base.items()
        if _KEPT.fullmatch(name)
        or re.fullmatch(keep, name)
        or not (is_secret_name(name) or _has_password(value))
    }


def _has_password(value: str) -> bool:
    return "://" in value and public_url(value) != value
