"""Every error that lmpipe raises on purpose, in one tree.

    LmpipeError
    ├── InputError                   the caller passed something wrong; the CLI exits with 2
    │   ├── SignatureError           a signature is declared wrongly
    │   ├── CallError                a call has wrong, missing or unknown inputs
    │   ├── DataError                a data file or row is wrong
    │   ├── ExportError              a prompt cannot be exported, or what is exported differs
    │   ├── MediaError               an image, a sound or a file cannot be used
    │   ├── MetricError              a metric returns something else than a score, or always fails
    │   ├── RecipeError              a recipe is incomplete or contradicts itself
    │   │   └── CallLimitError       a run made more LM calls than it may
    │   ├── ArtifactError            a run folder or state is damaged, foreign or untrusted
    │   ├── ConfigError              a setting, an LM name or an installation is wrong
    │   │   └── NetworkBlockedError  code under a network block tried to use the network
    │   └── CassetteError            a cassette cannot be read, written or replayed
    │       └── CassetteMissError    a call to replay is not in the cassette
    ├── OutputError                  a reply cannot be read as the declared outputs
    │   ├── CheckError               no answer passes a check, however often it is asked for
    │   ├── CutError                 the reply ended at the token limit
    │   └── RefusalError             the LM, or its provider, declined to answer
    ├── LMError                      a call to an LM failed
    │   ├── LMRequestError           the server refused the request; a retry cannot help
    │   ├── LMUnavailableError       the server is down or overloaded; a retry may help
    │   ├── DeadlineError            the caller's deadline passed before the reply came
    │   └── ServerError              a model server could not be started, or died
    ├── RunTimeoutError              a run of a program took longer than its timeout
    ├── ToolServerError              a server of tools could not be started, or is gone
    ├── StorageError                 a file of lmpipe cannot be written, as when the disk is full
    ├── RegistryError                a registry of prompts does not answer, or refuses one
    ├── TrainingError                weights could not be trained
    ├── SandboxError                 a sandbox for code cannot be started
    └── BudgetExhaustedError         the next step could exceed the budget

Every message names what was expected, what was found and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class LmpipeError(Exception):
    """The root of the tree; catch it to catch every error that lmpipe raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Python would call the class with the message alone, and some take more: such an error,
        # raised in a worker of a process pool, would never arrive.
        return _restore, (type(self), self.args, self.__dict__)


def _restore(
    kind: type[LmpipeError], args: tuple[object, ...], attributes: dict[str, Any]
) -> LmpipeError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class InputError(LmpipeError):
    """The caller passed something wrong."""


class SignatureError(InputError):
    """A signature is declared wrongly."""


class CallError(InputError):
    """A predictor or program was called with wrong, missing or unknown inputs."""


class DataError(InputError):
    """A data file or row is wrong; the message names the file and the line."""


class ExportError(InputError):
    """A prompt cannot be exported, or what is exported differs; the message names where."""


class MediaError(InputError, ValueError):
    """An image, a sound or a file cannot be read, is too large, or is something else."""


class MetricError(InputError):
    """A metric returned something else than a score, or raised on every row."""


class RecipeError(InputError):
    """A recipe is incomplete or contradicts itself."""


class CallLimitError(RecipeError):
    """A run made more LM calls than it may."""


class ArtifactError(InputError):
    """A run folder or a learned state is damaged, of another program, or not trusted."""


class ConfigError(InputError):
    """A setting, an LM name or an installation is wrong."""


class NetworkBlockedError(ConfigError):
    """Code under a network block tried to reach a host that is not allowed."""


class CassetteError(InputError):
    """A cassette cannot be read or written, or its calls are not those of the test."""


class CassetteMissError(CassetteError):
    """A call to replay is not in the cassette; the message shows what differs."""


class OutputError(LmpipeError):
    """A reply cannot be read as the declared outputs.

    Args:
        message: what was expected and what was found.
        raw: the reply's text, as the LM wrote it.
    """

    def __init__(self, message: str, *, raw: str) -> None:
        super().__init__(message)
        self.raw = raw


class CheckError(OutputError):
    """An answer fails a check, and so did the answers that were asked for in its place.

    Args:
        message: which predictor, which check, and how often it was asked.
        raw: the last reply's text, as the LM wrote it; empty if the check was about no answer.
        feedback: the check's own words.
    """

    def __init__(self, message: str, *, raw: str = "", feedback: str = "") -> None:
        super().__init__(message, raw=raw)
        self.feedback = feedback


class CutError(OutputError):
    """A reply was cut at the token limit; `raw` is the part that came."""


class RefusalError(OutputError):
    """The LM, or its provider, declined to answer; `raw` is what it said."""


class LMError(LmpipeError):
    """A call to an LM failed.

    Args:
        message: which LM, what happened, what to do.
        status: the HTTP status, if the server sent one.
        retry_after: the seconds that the server asked to wait, if it did.
    """

    def __init__(
        self, message: str, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class LMRequestError(LMError):
    """The server refused this request; a retry cannot help.

    Args:
        message: which LM, what happened, what to do.
        status: the HTTP status, if the server sent one.
        retry_after: the seconds that the server asked to wait, if it did.
        refused: the parameters that the model does not take, if the server says that it is because
            of them: each with the one to send in its place, or empty.
        guess: whether the server does not say so, but they may be why.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        refused: Mapping[str, str] | None = None,
        guess: bool = False,
    ) -> None:
        super().__init__(message, status=status, retry_after=retry_after)
        self.refused = dict(refused or {})
        self.guess = guess


class LMUnavailableError(LMError):
    """The server is down, overloaded, or closed the connection; a retry may help.

    Args:
        message: which LM, what happened, what to do.
        status: the HTTP status, if the server sent one.
        retry_after: the seconds that the server asked to wait, if it did.
        sent: whether the server may have worked on the request, and may count it, though no
            answer came.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        sent: bool = False,
    ) -> None:
        super().__init__(message, status=status, retry_after=retry_after)
        self.sent = sent


class DeadlineError(LMError):
    """The caller's deadline passed before the LM replied."""


class RunTimeoutError(LmpipeError, TimeoutError):
    """A run of a program, such as one row of a batch, took longer than its timeout."""


class ToolServerError(LmpipeError):
    """A server of tools could not be started or reached, or is gone."""


class StorageError(LmpipeError):
    """A file of lmpipe cannot be written; the message names it and the remedy.

    It stops a run and is never the failure of a row: the same call resumes when there is room.
    """


class RegistryError(LmpipeError):
    """A registry of prompts does not answer, or refuses a prompt; the message has its words."""


class TrainingError(LmpipeError):
    """Weights could not be trained; work that can be resumed is kept."""


class SandboxError(LmpipeError):
    """A sandbox for code cannot be started; what the code does wrong is part of its result."""


class ServerError(LMError):
    """A model server could not be started, died, or does not do what it was started for.

    Args:
        message: which server, what happened, what to do.
        log: the last lines of its log.
        exit_status: the exit status of its process, if it ended; negative for a signal.
    """

    def __init__(
        self, message: str, *, log: tuple[str, ...] = (), exit_status: int | None = None
    ) -> None:
        super().__init__(message)
        self.log = log
        self.exit_status = exit_status


class BudgetExhaustedError(LmpipeError):
    """The next step could exceed the budget."""


# Errors that no answer of an LM can mend. Where an LM sees the errors of what it calls, they end
# the run instead.
ENDS_RUN: tuple[type[LmpipeError], ...] = (
    LMError,
    ToolServerError,
    StorageError,
    BudgetExhaustedError,
    RecipeError,
    ConfigError,
    CassetteError,
    SandboxError,
)
