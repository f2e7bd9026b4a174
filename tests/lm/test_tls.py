"""`TLS`: which files it takes, and how an LM carries it."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.certificates import (
    CA,
    CLIENT,
    CLIENT_KEY,
    CLIENT_WITHOUT_KEY,
    ENCRYPTED_KEY,
)

import lmpipe
from lmpipe.errors import ConfigError
from lmpipe.lm.providers import open_provider


def test_a_key_may_be_in_a_file_of_its_own() -> None:
    context = lmpipe.TLS(ca=CA, cert=CLIENT_WITHOUT_KEY, key=CLIENT_KEY).context()
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize(
    "files",
    [
        {"ca": "missing.pem"},
        {"ca": CLIENT_KEY},
        {"cert": "missing.pem"},
        {"cert": CLIENT_WITHOUT_KEY},
        {"cert": CLIENT, "key": ENCRYPTED_KEY},
    ],
)
def test_a_file_that_cannot_be_used_is_named(files: dict[str, str | Path]) -> None:
    *_, (name, path) = files.items()
    with pytest.raises(ConfigError, match=f"{name}=.*{Path(path).name}"):
        lmpipe.TLS(**files).context()


def test_a_key_without_a_certificate_is_refused() -> None:
    with pytest.raises(ConfigError, match="cert="):
        lmpipe.TLS(key=CLIENT_KEY)


def test_an_lm_with_unusable_files_is_named() -> None:
    lm = lmpipe.LM("vllm/m", base_url="https://server.test/v1", tls=lmpipe.TLS(ca="missing.pem"))
    with pytest.raises(ConfigError, match=r"LM\('vllm/m'\).*missing\.pem"):
        open_provider(lm)


@pytest.mark.parametrize("model", ["local", "anthropic/claude"])
def test_an_lm_that_lmpipe_does_not_connect_to_itself_takes_no_files(model: str) -> None:
    with pytest.raises(ConfigError, match=r"tls= is for"):
        lmpipe.LM(model, tls=lmpipe.TLS(ca=CA))


def test_the_files_are_not_part_of_the_identity_but_of_the_endpoint() -> None:
    plain = lmpipe.LM("vllm/m", base_url="https://server.test/v1")
    secured = lmpipe.LM("vllm/m", base_url="https://server.test/v1", tls=lmpipe.TLS(ca=CA))
    assert plain.identity() == secured.identity()
    assert plain != secured
    assert secured.with_settings(temperature=1.0).tls == secured.tls
