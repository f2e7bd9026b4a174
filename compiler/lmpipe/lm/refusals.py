"""Which parameters a server refuses, by the words of its error message.

Providers have no common code for it. These are the forms that they use:

    OpenAI, Azure   Unsupported parameter: 'max_tokens' is not supported with this model. Use
                    'max_completion_tokens' instead.
                    Unsupported value: 'temperature' does not support 0 with this model.
    Anthropic       seed: Extra inputs are not permitted
                    `temperature` may only be set to 1 when thinking is enabled
    Gemini          Invalid JSON payload received. Unknown name "seed" at 'generation_config'
    Bedrock         extraneous key [seed] is not permitted
    pydantic        {"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are …"}
    litellm         anthropic does not support parameters: ['logit_bias']
                    O-series models don't support temperature=0.5. Only temperature=1 is supported
"""

from __future__ import annotations

import re
from collections.abc import Collection

from lmpipe.lm.parameters import KNOWN

# Fields without which a request has another meaning: they are never left out.
_NEEDED = frozenset(("model", "messages", "input", "stream", "tools", "tool_choice"))

_REFUSES = re.compile(
    r"not support|n't support|unsupported|not permitted|not allowed|extra[_ ]forbidden"
    r"|extra inputs|unrecogni[sz]ed|extraneous|cannot find field|not a valid (?:parameter|field)"
    r"|(?:unknown|unexpected|invalid) (?:name|key|parameter|field|argument|keyword|property)"
    r"|only be set to|only the default|no longer (?:supported|available)|is deprecated"
    r"|(?:does not|doesn't) (?:take|accept|have)|not (?:accepted|available|recogni[sz]ed)"
    r"|additional properties",
    re.IGNORECASE,
)
# A value that is out of range, or a schema with something unusual in it, is another matter.
_ABOUT_VALUE = re.compile(
    r"must be (?:greater|less|between|at least|at most|in\b)|too (?:large|long|high|low|small)"
    r"|out of range|schema|greater than or equal|less than or equal|exceed"
    r"|maximum (?:context|allowed)",
    re.IGNORECASE,
)
_REPLACEMENT = re.compile(r"\buse\s+['\"`]?(\w+)['\"`]?\s+instead", re.IGNORECASE)
_CLAUSE = re.compile(r"(?<=[.;!])\s+|\n|(?<=\})\s*,\s*(?=\{)")
_SEARCHED = 4000  # characters


def refused_parameters(said: str, sent: Collection[str]) -> dict[str, str]:
    """Return the sent parameters that an error message refuses, as `LMRequestError.refused`."""
    refused: dict[str, str] = {}
    clauses = _CLAUSE.split(said[:_SEARCHED])
    for number, clause in enumerate(clauses):
        if not _REFUSES.search(clause) or _ABOUT_VALUE.search(clause):
            continue
        for name in sent:
            if name in _NEEDED or name in refused or not _names(clause, name):
                continue
            refused[name] = _replacement(" ".join(clauses[number : number + 2]), name)
    return refused


# OpenAI, vLLM, Gemini and litellm; Anthropic; Bedrock; llama.cpp, as the embedded engine tells it.
_TOO_LONG = re.compile(
    r"context[_ ](?:length|window|size)|prompt is too long|input is too long|too many input tokens"
    r"|tokens, but a call can take|input token count",
    re.IGNORECASE,
)


def exceeds_context(said: str) -> bool:
    """Whether an error message says that a prompt is too long for the model."""
    return _TOO_LONG.search(said[:_SEARCHED]) is not None


def _replacement(said: str, name: str) -> str:
    found = _REPLACEMENT.search(said)
    return found[1] if found and found[1] in KNOWN and found[1] != name else ""


def _names(clause: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", clause) is not None
