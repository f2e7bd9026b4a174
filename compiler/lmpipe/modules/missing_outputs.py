"""`MissingOutputs`: what an LM is asked for after a reply that has only some of the outputs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from lmpipe.layouts.layout import Layout, Part, Reading
from lmpipe.layouts.text_values import is_blank, read_part
from lmpipe.signatures.signature_spec import SignatureSpec


@dataclass(frozen=True, slots=True)
class MissingOutputs:
    """The outputs that could not be read so far, and those that were.

    An LM that has reasoned well and only forgot to write its answer below need not reason again.

    Args:
        form: the signature with the missing outputs only.
        kept: the raw values of the others, by name.
    """

    form: SignatureSpec
    kept: dict[str, Any]

    @staticmethod
    def of(
        layout: Layout,
        form: SignatureSpec,
        text: str,
        *,
        thought: str = "",
        before: MissingOutputs | None = None,
    ) -> MissingOutputs | None:
        """Find what a reply lacks; None if nothing in it can be kept, or nothing is missing.

        Args:
            layout: of the reply.
            form: the signature that the LM was asked to write.
            text: the reply, which could not be read as a whole.
            thought: the output that is a reasoning, if any. Another free text is not kept if it
                ends a reply that lacks outputs, because these may be in it, unmarked.
            before: what earlier replies lacked, if the LM was asked only for that.
        """
        parts = layout.partial(form, text)
        kept = dict(before.kept) if before else {}
        doubtful = "" if _has_all(form, parts) else next(reversed(parts), "")
        for field in form.outputs:
            part = parts.get(field.name)
            if part is None:
                continue
            if field.takes_any_text and (
                field.name == doubtful != thought or is_blank(field, part.text)
            ):
                continue
            with suppress(ValueError):
                value = read_part(field, part)
                field.typed(value)
                kept[field.name] = value
        missing = [
            field
            for field in form.outputs
            if field.name not in kept and (field.required or field.name in parts)
        ]
        if not kept or not missing:
            return None
        return MissingOutputs(replace(form, outputs=tuple(missing)), kept)

    def completed(self, reading: Reading) -> Reading:
        """Add the outputs that were read before to those of a later reply."""
        return Reading({**self.kept, **reading.values}, reading.repaired)


def _has_all(form: SignatureSpec, parts: Mapping[str, Part]) -> bool:
    return all(field.name in parts for field in form.outputs if field.required)
