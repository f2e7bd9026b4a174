"""`Service`: what all addresses of a server share: its programs, limits, slots and log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lmpipe.modules.stream import Stream
from lmpipe.serve.deployment import Programs, ServedRun
from lmpipe.serve.error_log import ErrorLog
from lmpipe.serve.feedback import KeptAnswers
from lmpipe.serve.options import ServeOptions
from lmpipe.serve.running import Answer, RunLimits, Slots, stream


@dataclass(frozen=True)
class Service:
    """What all addresses of a server share: its programs, limits, slots and log.

    Args:
        programs: the programs, which may be swapped.
        options: the limits of the server.
        slots: the runs in flight at all addresses together.
        errors: the log of what fails.
        answers: keeps answers, for feedback on them; None if none is wanted.
    """

    programs: Programs
    options: ServeOptions
    slots: Slots
    errors: ErrorLog
    answers: KeptAnswers | None = None

    def keep(
        self, answer_id: str, served: ServedRun, inputs: Mapping[str, Any], outputs: Any
    ) -> None:
        """Keep an answer, if feedback is wanted."""
        if self.answers is not None:
            self.answers.keep(answer_id, served, inputs, outputs)

    def limits(self, headers: Mapping[str, str]) -> RunLimits:
        """Return what the run of a request with these headers may take."""
        return RunLimits.of(headers, self.options)

    @contextmanager
    def streaming(
        self, served: ServedRun, inputs: Mapping[str, Any], limits: RunLimits
    ) -> Iterator[Stream[Answer]]:
        """Run a program in a slot during a block, and tell its outputs while the LM writes."""
        with self.slots.take():
            running = stream(served, inputs, limits)
            try:
                yield running
            finally:
                running.close()
