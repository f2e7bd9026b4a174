"""Keep secrets out of what is stored, shown or logged: by their names, and by their values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, overload
from urllib.parse import quote, unquote, unquote_plus

import orjson

HIDDEN = "[secret]"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Shorter texts are not secret, and occur in common words.
_SHORTEST = 4
# A shorter text may be part of an address by chance.
_SHORTEST_IN_ADDRESS = 8

# Parameters with these names are left out whatever their values are.
_ALWAYS = re.compile(
    r"(^|_)(api_?key|secret|password|credentials?|headers?|authorization|"
    r"(access|auth|ad|bearer|session|security)_token)(_|$)",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_SECRET_WORDS = _words(
    """
    secret secrets password passwords passwd pgpassword passphrase pwd credential credentials
    authorization auth bearer apikey cookie jwt webhook
    """
)
# A token is a secret, unless it is one of a tokenizer.
_TOKENIZER_WORDS = _words(
    """
    bos eos pad unk sep cls mask stop start begin end first last next prev max min num per image
    video audio special think thinking reasoning tool decoder forced suppress prompt completion
    input output
    """
)
# A key is something else as often, such as OpenAI's prompt_cache_key.
_KEY_OWNERS = _words(
    """
    x api access secret private subscription auth account master signing encryption service
    license shared storage ssh function functions client admin project user app virtual proxy
    server openai azure anthropic google gemini mistral cohere groq litellm vllm hf
    """
)
_USER = re.compile(r"[^:/?#]+://[^/?#]*@")
_IN_QUERY = frozenset({"key", "code", "sig", "signature"})

# How keys of providers begin, and a part of a key that has no such beginning.
_KEY = re.compile(
    r"(?:sk-|sk_|csk-|gsk_|hf_|r8_|fw_|xai-|pplx-|nvapi-|AIza|AKIA)(?=.{6})"
    r"|.*?(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{32}",
    re.DOTALL,
)
_CERTAIN_KEY = re.compile(
    r"sk-[\w-]{6,}|(?:sk_|csk-|gsk_|hf_|r8_|fw_|xai-|pplx-|nvapi-|AIza|AKIA)(?=\D*\d)[\w-]{12,}"
)

_SCHEME = re.compile(r"\s*[a-z][a-z0-9+.-]*:/+|//", re.IGNORECASE)
_HOST_AND_PORT = re.compile(r"(\[[0-9a-f:.%]*\]|[^\s:@\[\]]+)(:\d{0,5})?", re.IGNORECASE)
_LOOKS_LIKE_HOST = re.compile(
    r"(localhost|\d+(\.\d+){3}|[\w-]+(\.[\w-]+)*\.[a-z]{2,}|\[[0-9a-f:.]+\])(:\d+)?|[\w.-]+:\d+",
    re.IGNORECASE,
)


def is_secret_name(name: str) -> bool:
    """Whether a parameter, header or variable of this name carries a secret.

    `x-api-key`, `authToken` and `HF_TOKEN` do; `max_tokens`, `eos_token` and `cache_key` do not.
    """
    words = [word.lower() for word in _WORD.findall(name)]
    if _ALWAYS.search(name) or not _SECRET_WORDS.isdisjoint(words) or words in (["key"], ["pass"]):
        return True
    if words[-1:] == ["token"]:
        return len(words) == 1 or words[-2] not in _TOKENIZER_WORDS
    owners = pairwise(words)
    return any(word in ("key", "keys") and owner in _KEY_OWNERS for owner, word in owners)


def looks_like_key(text: str) -> bool:
    """Whether a text is likely an API key, such as `sk-proj-…`, rather than a name."""
    return _KEY.match(text.strip()) is not None


def is_key(text: str) -> bool:
    """Whether a text is an API key beyond doubt, even where a model may have any name."""
    return _CERTAIN_KEY.fullmatch(text.strip()) is not None


def without_secrets(value: Any, secrets: Iterable[str] = ()) -> Any:
    """Return a JSON value without parameters that carry secrets, for keys and files.

    Args:
        value: the value.
        secrets: texts that are secret wherever they are.
    """
    known = [text for text in secrets if len(text) >= _SHORTEST_IN_ADDRESS]
    return _without(value, known)


def _without(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, Mapping):
        return {k: _without(v, secrets) for k, v in value.items() if not _is_secret(str(k), v)}
    if isinstance(value, list | tuple):
        return [_without(item, secrets) for item in value]
    if isinstance(value, str):
        if _SCHEME.match(value) and not re.search(r"\s", value):
            value = public_url(value)
        for secret in secrets:
            value = value.replace(secret, HIDDEN)
    return value


def secrets_in(value: Any) -> Iterator[str]:
    """Yield the texts that `without_secrets` leaves out of a JSON value because of their names."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(item) if _is_secret(str(name), item) else secrets_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from secrets_in(item)
    elif isinstance(value, str) and _SCHEME.match(value):
        yield from secrets_in_url(value)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)


def _is_secret(name: str, value: Any) -> bool:
    # A schema may describe a field called `key`: only a text under such a name is a secret.
    return bool(_ALWAYS.search(name)) or (isinstance(value, str) and is_secret_name(name))


@overload
def public_url(url: str, secrets: Iterable[str] = ()) -> str: ...
@overload
def public_url(url: None, secrets: Iterable[str] = ()) -> None: ...
def public_url(url: str | None, secrets: Iterable[str] = ()) -> str | None:
    """Return a URL without user, password and secret parameters; all others stay as they are.

    It need not be valid: what is hidden are also passwords with a raw slash, and those in an
    address without a scheme.

    Args:
        url: the URL.
        secrets: texts that are secret wherever they are.
    """
    if url is None:
        return None
    scheme, credentials, rest = _split(url)
    if credentials:
        rest = rest[len(credentials) + 1 :]
    known = [text for text in secrets if len(text) >= _SHORTEST_IN_ADDRESS]
    before, hash_mark, fragment = rest.partition("#")
    path, question_mark, query = before.partition("?")
    shown = scheme + path + _public_query(question_mark + query, known)
    shown += _public_query(hash_mark + fragment, known)
    for secret in known:
        shown = shown.replace(secret, HIDDEN)
    return shown


def secrets_in_url(url: str) -> tuple[str, ...]:
    """Return the secrets of a URL: its password, its credentials and its secret parameters."""
    _, credentials, rest = _split(url)
    found = []
    if credentials:
        user, _, password = credentials.partition(":")
        plain = f"{unquote(user)}:{unquote(password)}"
        found += [credentials, plain, password or user]
    for part in re.split(r"[?&;#]", rest)[1:]:
        name, _, value = part.partition("=")
        if _in_query(name):
            found.append(value)
    return tuple(filter(None, found))


def has_user(url: str) -> bool:
    """Whether a URL has a user's name or a password."""
    return _USER.match(url) is not None


def redact(text: str, secrets: Iterable[str]) -> str:
    """Replace secrets in a text, also where they are quoted, escaped or in base64."""
    spelled = {spelling for secret in secrets for spelling in _spellings(secret)}
    # The longest first, so that no rest of one is left where it contains another.
    for spelling in sorted(spelled, key=len, reverse=True):
        text = text.replace(spelling, HIDDEN)
    return text


def _spellings(secret: str) -> set[str]:
    import base64  # these two are for errors only, and `import lmpipe` must be fast
    import html

    texts = {secret, unquote(secret), secret.partition(" ")[2]}  # without `Bearer`
    spelled = set()
    for text in texts:
        if len(text) < _SHORTEST:
            continue
        data = text.encode(errors="replace")
        spelled |= {text, quote(text, safe=""), quote(text), html.escape(text)}
        spelled |= {orjson.dumps(data.decode()).decode()[1:-1]}
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            in_base64 = encode(data).decode()
            spelled |= {in_base64, in_base64.rstrip("=")}
    return {text for text in spelled if len(text) >= _SHORTEST}


def _split(url: str) -> tuple[str, str, str]:
    """Split a URL into its scheme, its credentials, and all after the scheme."""
    scheme = match[0] if (match := _SCHEME.match(url)) else ""
    rest = url[len(scheme) :]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    end = authority.rfind("@")
    if "@" in rest and not _HOST_AND_PORT.fullmatch(authority[end + 1 :]):
        end = rest.rfind("@")
    elif end >= 0 or ":" in authority:
        # A password with a raw slash, unless it is an address such as host:8000/models/name@v1.
        within = rest if end >= 0 else re.split(r"[?#]", rest, maxsplit=1)[0]
        last = within.rfind("@")
        after = re.split(r"[/?#]", within[last + 1 :], maxsplit=1)[0]
        if last > end and _LOOKS_LIKE_HOST.fullmatch(after):
            end = last
    return scheme, rest[:end] if end >= 0 else "", rest


def _public_query(query: str, secrets: list[str]) -> str:
    """Leave secret parameters out of `?a=1&b=2` or `#a=1`."""
    parts = query[1:].split("&")
    kept = [part for part in parts if not _carries_secret(part, secrets)]
    if len(kept) == len(parts):
        return query
    return query[:1] + "&".join(kept) if kept else ""


def _carries_secret(part: str, secrets: list[str]) -> bool:
    name, equals, value = part.partition("=")
    return bool(equals) and (_in_query(name) or unquote_plus(value) in secrets)


def _in_query(name: str) -> bool:
    name = unquote_plus(name)
    return name.lower() in _IN_QUERY or is_secret_name(name)
