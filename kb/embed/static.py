"""Static models: the vector of a text is the mean of fixed vectors of its tokens. No torch, and no waiting for it.

They agree with sentence-transformers' ``StaticEmbedding`` to 1e-5 and are some hundred times faster than a
transformer, at the price of word order and context. They read texts of any length; a mean over more than a page says
little about any of it, so that collections divide texts for them into chunks of 256 tokens like for other models.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from kb.embed.encoder import FINGERPRINT_SENTENCES, check_vectors
from kb.embed.folder import STATIC_WEIGHTS
from kb.embed.tokens import read_tokenizer
from kb.errors import EncoderError, ModelNotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from kb.embed.encoder import Vectors
    from kb.embed.folder import StaticFolder
    from kb.model_config import ModelSettings

_SLAB: Final = 2048


class StaticEncoder:
    """An ``Encoder`` over a table of token vectors. Safe to use from several threads."""

    def __init__(self, model_id: str, folder: StaticFolder, settings: ModelSettings) -> None:
        from tokenizers import Tokenizer

        self._folder = folder
        self._lock = threading.Lock()
        self._table: NDArray[Any] | None = None
        self._cut = read_tokenizer(folder.weights.with_name("tokenizer.json"), model_id)
        self._cut.no_padding()
        self._whole = Tokenizer.from_str(self._cut.to_str())
        self._whole.no_truncation()
        self.query_prompt = folder.query_prompt if settings.query_prompt is None else settings.query_prompt
        self.document_prompt = folder.document_prompt if settings.document_prompt is None else settings.document_prompt
        self.model = model_id
        self.dimension = folder.dimension
        self.window = folder.window
        self.reserved = self._count(self.document_prompt)

    def token_spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Return the (start, end) character offsets of the tokens of ``text``, uncut."""
        try:
            spans: Sequence[tuple[int, int]] = self._whole.encode(text, add_special_tokens=False).offsets
        except (TypeError, UnicodeEncodeError) as error:
            raise EncoderError(f"a text is not valid Unicode: {error}") from error
        return spans

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Embed texts that are stored; see ``Encoder``."""
        return self._encode(texts, self.document_prompt)

    def encode_query(self, text: str) -> Vectors:
        """Embed one search text; see ``Encoder``."""
        vector: Vectors = self._encode([text], self.query_prompt)[0]
        return vector

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Embed search texts; see ``Encoder``."""
        return self._encode(texts, self.query_prompt)

    def query_tokens(self, text: str) -> int:
        """Count the tokens of a query with its prompt."""
        return self._count(self.query_prompt + text)

    def prepare_queries(self) -> None:
        """Do nothing: queries need no preparation."""

    def fingerprint(self) -> Vectors:
        """Embed the three fixed sentences without any prompt; shape (3, dimension)."""
        return self._encode(FINGERPRINT_SENTENCES, "")

    def close(self) -> None:
        """Free the model's memory; a later call loads it again."""
        with self._lock:
            self._table = None

    def _count(self, text: str) -> int:
        return len(self.token_spans(text)) if text else 0

    def _encode(self, texts: Sequence[str], prompt: str) -> Vectors:
        import numpy as np

        table = self._vectors()
        out = np.zeros((len(texts), self.dimension), dtype=np.float32)
        try:
            for start in range(0, len(texts), _SLAB):
                rows = self._numbers([prompt + text for text in texts[start : start + _SLAB]])
                for index, row in enumerate(rows, start):
                    # The direction of a sum is that of the mean.
                    out[index] = table[row].sum(axis=0)
        except IndexError as error:
            what = f"model '{self.model}' has tokens without a vector: {error}"
            raise EncoderError(what, unchanged="nothing was stored", hint="install the model again") from error
        empty = ~out.any(axis=1)
        if empty.any():
            raise EncoderError(
                f"model '{self.model}' has no vector for text {int(np.argmax(empty))} of {len(texts)}: "
                "it knows no token of it",
                unchanged="nothing was stored",
                hint="look at that text: it may be empty but for white space",
            )
        return check_vectors(out, len(texts), self.dimension)

    def _numbers(self, texts: Sequence[str]) -> list[list[int]]:
        try:
            found = self._cut.encode_batch_fast(list(texts), add_special_tokens=False)
        except (TypeError, UnicodeEncodeError) as error:
            raise EncoderError(f"one of {len(texts)} texts is not valid Unicode: {error}") from error
        return [encoding.ids for encoding in found]

    def _vectors(self) -> NDArray[Any]:
        with self._lock:
            if self._table is None:
                self._table = _load(self._folder, self.model)
            return self._table


def _load(folder: StaticFolder, model_id: str) -> NDArray[Any]:
    import numpy as np
    from safetensors import safe_open

    try:
        with safe_open(folder.weights, framework="numpy") as file:
            names = set(file.keys())
            table = file.get_tensor(next(name for name in STATIC_WEIGHTS if name in names)).astype(np.float32)
            # model2vec may keep fewer vectors than tokens, and how much each token counts.
            if "mapping" in names:
                table = table[file.get_tensor("mapping").astype(np.int64)]
            if "weights" in names:
                table = table * file.get_tensor("weights").astype(np.float32)[:, None]
    # A damaged file surfaces as any of several classes of two libraries.
    except Exception as error:
        what = f"the weights of model '{model_id}' in {folder.weights} cannot be loaded: {error}"
        raise ModelNotFoundError(what, hint="install the model again") from error
    return np.ascontiguousarray(table)
