"""What every embedding model looks like to the rest of ``kb``, and what its answers must satisfy.

Nothing here loads a model. An answer that fails :func:`check_vectors` never reaches the catalog.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from kb.errors import EncoderError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

FINGERPRINT_SENTENCES = (
    "The committee postponed its decision on the new harbour until the spring.",
    "Eine kleine Katze schläft unter dem alten Küchentisch.",
    "Error 404: value x = 3.14 exceeds the limit of 2 after 17 attempts.",
)
"""Embedded without a prompt; English, another language, digits and signs, so that two models differ somewhere."""

FINGERPRINT_AGREEMENT = 0.999
"""Least cosine at which two fingerprints count as one model.

One model in float32, in bfloat16 and through ONNX agrees to 0.9999 or better; two different models agree to less
than 0.9 on at least one sentence, because their spaces have nothing to do with each other.
"""


REMOTE_AGREEMENT = 0.99
"""The same for a model behind a server: providers round, and move between machines, without saying so."""


class Encoder(Protocol):
    """Turns texts into unit vectors.

    Attributes:
        model: The model id, as a collection stores it.
        dimension: Length of every vector.
        window: Most tokens of one input, special tokens and prompt included; the rest would be cut off.
        reserved: Tokens of one document input that are not the text: special tokens and the document prompt.
        document_prompt: What is put before every document; ``""`` for none.
        query_prompt: What is put before every query; ``""`` for none.
    """

    @property
    def model(self) -> str:
        """The model id; see above."""
        ...

    @property
    def dimension(self) -> int:
        """The length of every vector."""
        ...

    @property
    def window(self) -> int:
        """The most tokens of one input."""
        ...

    @property
    def reserved(self) -> int:
        """The tokens of a document input that are not the text."""
        ...

    @property
    def document_prompt(self) -> str:
        """What is put before every document."""
        ...

    @property
    def query_prompt(self) -> str:
        """What is put before every query."""
        ...

    def token_spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Return the (start, end) character offsets of the tokens of ``text``, without special tokens, uncut."""
        ...

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Embed texts that are stored.

        Args:
            texts: Any number, in any order; long calls are faster per text than short ones.

        Returns:
            Shape (len(texts), dimension), float32, rows of length 1 in the order given.

        Raises:
            EncoderError: The model failed, or answered something that is no vector.
        """
        ...

    def encode_query(self, text: str) -> Vectors:
        """Embed one search text.

        Returns:
            Shape (dimension,), float32, length 1.

        Raises:
            EncoderError: As for ``encode_documents``.
        """
        ...

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Embed several search texts together; a few are faster than one by one.

        Returns:
            Shape (len(texts), dimension), float32, rows of length 1 in the order given.

        Raises:
            EncoderError: As for ``encode_documents``.
        """
        ...

    def query_tokens(self, text: str) -> int:
        """Count the tokens of a query with special tokens and prompt; above ``window`` its end is ignored."""
        ...

    def prepare_queries(self) -> None:
        """Do now what would delay the first query; call it after a bulk import. Cheap when already done."""
        ...

    def fingerprint(self) -> Vectors:
        """Embed the three fixed sentences without any prompt.

        Returns:
            Shape (3, dimension), float32, rows of length 1; for ``same_fingerprint``.
        """
        ...

    def close(self) -> None:
        """Free the model's memory. Closing twice is harmless."""
        ...


def check_vectors(vectors: object, count: int, dimension: int) -> Vectors:
    """Check a model's answer and bring every row to length 1 in float32.

    Args:
        vectors: What the model returned: anything that numpy can read as an array of numbers.
        count: How many texts were asked for.
        dimension: The length that every vector must have.

    Returns:
        A new array of shape (count, dimension), float32, rows of length 1.

    Raises:
        EncoderError: Wrong shape, or a row with NaN, infinity or only zeros; the message names the first such text
            by its zero-based index.
    """
    import numpy as np

    try:
        wide = np.asarray(vectors, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        what = f"the model returned no array of numbers: {error}"
        raise EncoderError(what, unchanged="nothing was stored") from error
    if wide.shape != (count, dimension):
        if wide.size == count == 0:
            return np.zeros((0, dimension), dtype=np.float32)
        found = f"an array of shape {wide.shape} where {(count, dimension)} was expected"
        raise EncoderError(f"the model returned {found}", unchanged="nothing was stored")
    # In float64 so that the squares of tiny and of huge components neither vanish nor overflow.
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    bad = ~np.isfinite(lengths) | (lengths < np.finfo(np.float32).tiny)
    if bad.any():
        index = int(np.argmax(bad))
        kind = "zero" if np.isfinite(lengths[index]) else "NaN or infinite"
        raise EncoderError(
            f"the model returned a {kind} vector for text {index} of {count}",
            unchanged="nothing was stored",
            hint="look at that text, then check the model with `kb models`",
        )
    unit: Vectors = (wide / lengths[:, None]).astype(np.float32)
    return unit


def same_fingerprint(a: Vectors, b: Vectors) -> float:
    """Return how far two fingerprints agree.

    Returns:
        The smallest cosine over the three sentences, in [-1, 1]; -1.0 when the shapes differ. At or above
        ``FINGERPRINT_AGREEMENT`` they come from one model.
    """
    import numpy as np

    if a.shape != b.shape or a.ndim != 2 or a.shape[0] == 0:
        return -1.0
    left, right = check_vectors(a, *a.shape), check_vectors(b, *b.shape)
    return float(np.clip(np.einsum("ij,ij->i", left, right), -1.0, 1.0).min())
