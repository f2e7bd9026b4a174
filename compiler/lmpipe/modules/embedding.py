"""`Embedding`: the question for the vector of one call's inputs, which chooses demonstrations."""

from __future__ import annotations

from dataclasses import dataclass

from lmpipe.errors import ConfigError
from lmpipe.foundation.vectors import dimension_of
from lmpipe.lm.lm import LM
from lmpipe.lm.request import Reply, Request, embedding_request
from lmpipe.state.program_state import Vectors


@dataclass(frozen=True, slots=True)
class Embedding:
    """What an embedder is asked before a predictor's conversation starts.

    Args:
        path: of the predictor.
        vectors: those of its pool.
        request: the question.
    """

    path: str
    vectors: Vectors
    request: Request

    @staticmethod
    def of(path: str, vectors: Vectors, text: str, configured: LM | None) -> Embedding:
        """Ask the configured embedder, if it is the one that made a pool's vectors.

        A state has the embedder's name alone: the vectors of another model tell nothing here. The
        same model may be reached through another provider.

        Args:
            path: of the predictor.
            vectors: those of its pool.
            text: what stands for the call's inputs.
            configured: the embedder of the settings in force.

        Raises:
            ConfigError: if it is another one, or there is none.
        """
        if configured is None or _model(configured.model) != _model(vectors.embedder):
            came = "none is configured" if configured is None else f"{configured.model} is"
            raise ConfigError(
                f"{path}: its demonstrations are chosen by embeddings of {vectors.embedder}, but "
                f"{came}: say how it is reached by lmpipe.configure(embedder=lmpipe.LM("
                f"{vectors.embedder!r}, …)), or on the command line --embedder {vectors.embedder}"
            )
        return Embedding(path, vectors, embedding_request(configured, text))

    def read(self, reply: Reply) -> str:
        """The vector, if it can be compared with those of the pool.

        Raises:
            ConfigError: if it has another number of numbers.
        """
        model = self.request.lm.model
        try:
            dimension = dimension_of(reply.text)
        except ValueError as error:
            raise ConfigError(f"{self.path}: {model} gave no vector: {error}") from error
        if dimension != self.vectors.dimension:
            raise ConfigError(
                f"{self.path}: {model} gave a vector of {dimension} numbers, but those of its "
                f"demonstrations have {self.vectors.dimension}: ask the model with the parameters "
                "that it was compiled with, or compile again"
            )
        return reply.text


def _model(name: str) -> str:
    """What a server calls the model, whichever way it is reached."""
    return name.partition("/")[2] or name
