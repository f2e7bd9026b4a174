"""What the smoke tests of indexes share: texts with their vectors, and an embedder."""

import lmpipe

EMBEDDER = lmpipe.ScriptedLM(name="embedder")  # texts with the same words have the same vectors
TEXTS = ["Bern is the capital.", "Basel lies on the Rhine.", "Leaves are green."]

with lmpipe.using(embedder=EMBEDDER):
    VECTORS = lmpipe.Embeddings.of(TEXTS).vectors.rows.astype("float32").tolist()


def check(index: lmpipe.Retriever) -> None:
    """A text is the nearest to itself."""
    (found,) = lmpipe.Retrieve(index, k=1)(TEXTS[1])
    assert found.text == TEXTS[1], found
