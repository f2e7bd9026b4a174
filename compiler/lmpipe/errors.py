"""Every error that lmpipe raises, in one tree.

    LmpipeError
    ├── InputError              something that the caller handed over is wrong; the CLI exits with 2
    │   ├── SignatureError      a signature is declared wrongly
    │   ├── CallError           a predictor was called with wrong, missing or extra inputs
    │   ├── DataError           a data file or row is wrong; names the file and the line
    │   ├── MetricError         a metric breaks its contract, or fails on every row
    │   ├── RecipeError         a compile is described wrongly
    │   ├── ArtifactError       a run folder or a state does not fit, or was tampered with
    │   ├── ConfigError         a setting, an LM name or an installation is wrong
    │   │   └── NetworkBlockedError  a test that replays its LM calls reached for the network
    │   └── CassetteError       a cassette is damaged, or its calls are not those of the test
    │       └── CassetteMissError    a call that was to be replayed is not in the cassette
    ├── OutputError             a reply cannot be read as the declared outputs; keeps the raw text
    ├── LMError                 the road to an LM failed
    │   ├── LMRequestError      the server refuses this request: asking again cannot help
    │   ├── LMUnavailableError  the server is away or overloaded: asking again may help
    │   ├── DeadlineError       the caller's own deadline passed before the reply came
    │   └── ServerError         a model server cannot be started, or died; keeps its last words
    ├── TrainingError           weights could not be trained: the environment, the model, the disk
    └── BudgetExhaustedError    the next step could pass the budget

Every message says what was expected, what came, and what to do.
"""

from __future__ import annotations


class LmpipeError(Exception):
    """The root of the tree: catch it to catch all that lmpipe raises on purpose."""


class InputError(LmpipeError):
    """Something that the caller handed over is wrong."""


class SignatureError(InputError):
    """A signature is declared wrongly."""


class CallError(InputError):
    """A predictor was called with wrong, missing or extra inputs."""


class DataError(InputError):
    """A data file or a row of it is wrong."""


class MetricError(InputError):
    """A metric returned something that is no score, or raised on every row."""


class RecipeError(InputError):
    """A compile is described wrongly: a part is missing or parts do not fit together."""


class ArtifactError(InputError):
    """A run folder or a learned state is damaged, foreign or not trusted."""


class ConfigError(InputError):
    """A setting, an LM name or an installation is wrong."""


class NetworkBlockedError(ConfigError):
    """Code under a network block reached for a host that is not allowed."""


class CassetteError(InputError):
    """A cassette cannot be read or written, or what it holds is not what was asked for."""


class CassetteMissError(CassetteError):
    """A call that was to be replayed is not in the cassette; the message says what differs."""


class OutputError(LmpipeError):
    """A reply cannot be read as the declared outputs.

    Args:
        message: what was expected and what came.
        raw: the reply's text as the LM wrote it.
    """

    def __init__(self, message: str, *, raw: str) -> None:
        super().__init__(message)
        self.raw = raw


class LMError(LmpipeError):
    """The road to an LM failed.

    Args:
        message: which LM, what happened, what to do.
        status: the HTTP status, where there was one.
        retry_after: seconds that the server asked to wait, where it did.
    """

    def __init__(
        self, message: str, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class LMRequestError(LMError):
    """The server refuses this request; asking again cannot help."""


class LMUnavailableError(LMError):
    """The server cannot be reached, is overloaded or broke off; asking again may help."""


class DeadlineError(LMError):
    """The caller's own deadline passed before the LM had replied."""


class TrainingError(LmpipeError):
    """Weights could not be trained; what was done so far is kept where it can be gone on with."""


class ServerError(LMError):
    """A model server cannot be started, died, or does not do what it was started for.

    Args:
        message: which server, what happened, what to do.
        log: the last lines that it wrote.
        exit_status: what its process ended with, where it ended; below 0 for a signal.
    """

    def __init__(
        self, message: str, *, log: tuple[str, ...] = (), exit_status: int | None = None
    ) -> None:
        super().__init__(message)
        self.log = log
        self.exit_status = exit_status


class BudgetExhaustedError(LmpipeError):
    """The next step could pass the budget."""
