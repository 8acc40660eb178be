"""The real encoder: documents in bulk through sentence-transformers, queries and single edits through ONNX."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from kb.embed.encoder import FINGERPRINT_SENTENCES
from kb.embed.folder import read_folder
from kb.embed.tokens import Tokeniser
from kb.errors import ConfigError, ModelNotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kb.embed.bulk import BulkModel
    from kb.embed.encoder import Vectors
    from kb.embed.export import ExportedModel
    from kb.embed.models import ModelSettings, ResolvedModel

_LOG = logging.getLogger("kb")
_FEW = 8


class TransformerEncoder:
    """An ``Encoder`` over a folder of weights.

    Opening it reads JSON and the tokeniser only. The first long call of ``encode_documents`` loads torch; a query
    loads onnxruntime, and torch only when the model has never been exported on this machine.
    """

    def __init__(self, resolved: ResolvedModel, settings: ModelSettings) -> None:
        if resolved.path is None:
            raise ModelNotFoundError(f"model '{resolved.id}' has no weights to load")
        self._folder = read_folder(resolved.path, resolved.id)
        self._sha256 = resolved.sha256
        self._tokeniser = Tokeniser(self._folder, resolved.id)
        own = self._folder
        self.query_prompt = own.query_prompt if settings.query_prompt is None else settings.query_prompt
        self.document_prompt = own.document_prompt if settings.document_prompt is None else settings.document_prompt
        self.model = resolved.id
        self.dimension = own.dimension
        self.window = own.window
        self.reserved = self._tokeniser.count(self.document_prompt)
        self._lock = threading.RLock()
        self._bulk: BulkModel | None = None
        self._exported: ExportedModel | None = None
        self._without_export = False
        self._fingerprint: Vectors | None = None

    def token_spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Return the (start, end) character offsets of the tokens of ``text``, without special tokens, uncut."""
        return self._tokeniser.spans(text)

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Embed texts that are stored; see ``Encoder``. Up to eight texts do not load torch when it can be avoided."""
        import numpy as np

        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        return self._encode(texts, self.document_prompt)

    def encode_query(self, text: str) -> Vectors:
        """Embed one search text; see ``Encoder``. The first query ever makes the export, which takes seconds."""
        self.prepare_queries()
        vector: Vectors = self._encode([text], self.query_prompt)[0]
        return vector

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Embed search texts, those of like length together; see ``Encoder``. Torch is not loaded for them."""
        import numpy as np

        self.prepare_queries()
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        for start in range(0, len(order), _FEW):
            some = order[start : start + _FEW]
            vectors[some] = self._encode([texts[number] for number in some], self.query_prompt)
        return vectors

    def query_tokens(self, text: str) -> int:
        """Count the tokens of a query with special tokens and prompt; above ``window`` its end is ignored."""
        return self._tokeniser.count(self.query_prompt + text)

    def prepare_queries(self) -> None:
        """Make the ONNX export when there is none yet; cheap when there is."""
        if self._open_export() is not None or self._without_export:
            return
        from kb.embed.export import export_path, make_export

        with self._lock:
            path = export_path(self._folder, self._sha256)
            made = make_export(path, self._folder, self._tokeniser, self.model)
            self._without_export = not made or self._open_export() is None

    def fingerprint(self) -> Vectors:
        """Embed the three fixed sentences without any prompt; shape (3, dimension)."""
        if self._fingerprint is None:
            self._fingerprint = self._encode(FINGERPRINT_SENTENCES, "")
        return self._fingerprint.copy()

    def close(self) -> None:
        """Free the model's memory; a later call loads it again."""
        with self._lock:
            self._bulk = self._exported = self._fingerprint = None

    def _encode(self, texts: Sequence[str], prompt: str) -> Vectors:
        exported = self._open_export() if len(texts) <= _FEW else None
        if exported is not None:
            return exported.encode(self._tokeniser.numbers([prompt + text for text in texts]))
        return self._open_bulk().encode(texts, prompt)

    def _open_bulk(self) -> BulkModel:
        from kb.embed.bulk import BulkModel

        with self._lock:
            if self._bulk is None:
                self._bulk = BulkModel(self._folder, self._tokeniser, self.model, self._sha256)
            return self._bulk

    def _open_export(self) -> ExportedModel | None:
        """Open the export when there is one; never makes one."""
        if self._exported is not None or self._without_export:
            return self._exported
        from kb.embed.export import export_path, open_export

        with self._lock:
            self._without_export = not self._exportable()
            if self._exported is None and not self._without_export:
                self._exported = open_export(export_path(self._folder, self._sha256), self._folder, self.model)
            return self._exported

    def _exportable(self) -> bool:
        """Whether an export can stand for this model, and can be kept."""
        from kb.embed.cache import cache_dir

        # The export knows nothing of prompts: it cannot leave their tokens out of the mean.
        if not self._folder.pools_prompt and (self.query_prompt or self.document_prompt):
            return False
        try:
            cache_dir()
        except ConfigError as error:
            _LOG.warning("%s; queries of model %s stay with torch", error, self.model)
            return False
        return True
