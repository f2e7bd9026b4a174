"""`Embedding`: the request for the embedding of one call's inputs, which chooses demonstrations."""

from __future__ import annotations

from dataclasses import dataclass

from lmpipe.errors import ConfigError
from lmpipe.foundation.vectors import dimension_of
from lmpipe.lm.lm import LM
from lmpipe.lm.request import Reply, Request, embedding_request
from lmpipe.retrieval.embed import same_model
from lmpipe.state.program_state import Vectors


@dataclass(frozen=True, slots=True)
class Embedding:
    """The request that an embedder gets before the conversation of the predictor at `path`.

    `vectors` are the embeddings of the predictor's pool.
    """

    path: str
    vectors: Vectors
    request: Request

    @staticmethod
    def of(path: str, vectors: Vectors, text: str, configured: LM | None) -> Embedding:
        """Make a request to the configured embedder for the call's inputs, given as text.

        It must be the model that embedded the pool, because vectors of different models cannot
        be compared. The same model may be reached through another provider.

        Raises:
            ConfigError: if no embedder is configured, or another model.
        """
        if configured is None or not same_model(configured.model, vectors.embedder):
            found = "no embedder" if configured is None else configured.model
            raise ConfigError(
                f"{path}: its demonstrations are chosen by embeddings of {vectors.embedder}, but "
                f"{found} is configured: call lmpipe.configure(embedder=lmpipe.LM("
                f"{vectors.embedder!r}, …)), or pass --embedder {vectors.embedder} on the command "
                "line"
            )
        return Embedding(path, vectors, embedding_request(configured, text))

    def read(self, reply: Reply) -> str:
        """Return the vector of a reply, as text.

        Raises:
            ConfigError: if the reply is not a vector, or not of the pool's dimension.
        """
        model = self.request.lm.model
        try:
            dimension = dimension_of(reply.text)
        except ValueError as error:
            raise ConfigError(f"{self.path}: {model} did not return a vector: {error}") from error
        if dimension != self.vectors.dimension:
            raise ConfigError(
                f"{self.path}: {model} returned a vector of {dimension} numbers, but those of its "
                f"demonstrations have {self.vectors.dimension}: give the embedder the parameters "
                "that the program was compiled with, or compile again"
            )
        return reply.text
