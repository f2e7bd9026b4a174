"""`ErrorLog`: what failed, in one line each, without secrets."""

from __future__ import annotations

import logging

from lmpipe.foundation.printable import printable
from lmpipe.foundation.redaction import redact
from lmpipe.foundation.shorten import one_line
from lmpipe.serve.deployment import Programs
from lmpipe.serve.options import ServeOptions
from lmpipe.serve.problems import Problem, problem_of

log = logging.getLogger("lmpipe.serve")

_LONGEST = 2_000  # characters of an error


class ErrorLog:
    """Logs errors of programs; never shows the keys of the server and of the LMs."""

    def __init__(self, programs: Programs, options: ServeOptions) -> None:
        self._programs, self._options = programs, options

    def problem_of(self, error: BaseException, request_id: str) -> Problem:
        """Return the problem that a client is told; log the error if it is not the client's."""
        problem = problem_of(error)
        if problem.status >= 500:
            self.log(error, request_id)
        return problem

    def log(self, error: BaseException, request_id: str) -> None:
        """Log an error."""
        text = redact(f"{type(error).__name__}: {error}", self._secrets())
        log.error("%s failed: %s", request_id, printable(one_line(text, _LONGEST)))

    def _secrets(self) -> list[str]:
        settings = [run.settings for item in self._programs for run in item.runs]
        lms = [lm for item in settings for lm in (item.lm, item.embedder) if lm is not None]
        of_lms = [secret for lm in lms for secret in lm.secrets]
        return [*self._options.keys, *self._options.admin_keys, *of_lms]
