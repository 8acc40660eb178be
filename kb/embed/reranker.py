"""Rerankers: models that read a query and a text together, and say how well the one answers the other.

Slower than comparing vectors by the length of all the texts, and better: for the best few dozen hits of a search.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from kb.embed.bulk import quiet
from kb.embed.folder import labels_of
from kb.embed.models import resolve
from kb.errors import EncoderError, ModelNotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from sentence_transformers import CrossEncoder

    from kb.model_config import ModelSettings

_EXAMPLE: Final = "name a cross-encoder with one label, such as cross-encoder/ms-marco-MiniLM-L6-v2"


def open_reranker(
    model_id: str, settings: Mapping[str, ModelSettings] | None = None, *, download: bool = True
) -> Reranker:
    """Open a reranker by its id; loads nothing heavy before the first text.

    Args:
        model_id: As for ``resolve``: a path, a name of the settings, or ``organisation/name`` on the hub.
        settings: ``[models]`` of the configuration, by name.
        download: Whether to look on the hub for what is not here.

    Raises:
        ModelNotFoundError: Nothing usable was found, or the model is not one that gives one score for two texts.
    """
    try:
        resolved = resolve(model_id, settings, download=download)
    except ModelNotFoundError as error:
        # The names that resolve() proposes are of models that make vectors.
        proposes = error.hint.startswith(("did you mean", "valid:"))
        raise ModelNotFoundError(error.what, hint=_EXAMPLE if proposes else error.hint) from None
    labels = 0 if resolved.path is None else labels_of(resolved.path, resolved.id)
    if resolved.path is None or labels != 1:
        what = f"the model '{resolved.id}' is no reranker: it gives " + (f"{labels} labels" if labels else "vectors")
        raise ModelNotFoundError(what, hint=_EXAMPLE)
    return Reranker(resolved.id, resolved.path)


class Reranker:
    """A cross-encoder. Safe to use from several threads.

    Attributes:
        model: The model id.
    """

    def __init__(self, model_id: str, path: Path) -> None:
        """Take what ``open_reranker`` has found; use that."""
        self.model = model_id
        self._path = path
        self._lock = threading.Lock()
        self._loaded: CrossEncoder | None = None

    def score(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return how well each text answers the query; the ends of those beyond the model's window are ignored.

        Args:
            query: What was searched.
            texts: Any number.

        Returns:
            Shape (len(texts),), float32, higher is better, in the order given. They are the model's own numbers without
            an activation, which would press the best of them together: only their order means something.

        Raises:
            ModelNotFoundError: The weights cannot be loaded.
            EncoderError: The model failed, or answered no numbers.
        """
        import numpy as np

        if not texts:
            return np.zeros(0, dtype=np.float32)
        with self._lock:
            model = self._model()
            try:
                found = model.predict(
                    [(query, text) for text in texts], activation_fn=_identity(), show_progress_bar=False
                )
            except (RuntimeError, MemoryError, IndexError, ValueError, TypeError, UnicodeEncodeError) as error:
                what = f"the reranker '{self.model}' failed on {len(texts)} texts: {error}"
                raise EncoderError(what, unchanged="nothing was changed") from error
        scores: NDArray[np.float32] = np.asarray(found, dtype=np.float32)
        if scores.shape != (len(texts),) or not np.isfinite(scores).all():
            what = f"the reranker '{self.model}' did not answer one finite number for each of {len(texts)} texts"
            raise EncoderError(what, unchanged="nothing was changed", hint="search without --rerank")
        return scores

    def close(self) -> None:
        """Free the model's memory; a later call loads it again."""
        with self._lock:
            self._loaded = None

    def _model(self) -> CrossEncoder:
        if self._loaded is None:
            self._loaded = _load(self._path, self.model)
        return self._loaded


def _identity() -> Any:
    import torch

    return torch.nn.Identity()


def _load(path: Path, model_id: str) -> CrossEncoder:
    """Load a cross-encoder on the CPU, silently, from safetensors, running no code from its folder."""
    with quiet():
        try:
            from sentence_transformers import CrossEncoder
        except ImportError as error:
            what = f"the reranker '{model_id}' needs the package sentence-transformers"
            raise ModelNotFoundError(what, hint="pip install sentence-transformers") from error
        arguments = {"use_safetensors": True, "dtype": "float32"}
        try:
            return CrossEncoder(
                str(path), device="cpu", local_files_only=True, trust_remote_code=False, model_kwargs=arguments
            )
        # A damaged file surfaces as any of a dozen classes of four libraries.
        except Exception as error:
            what = f"the weights of the reranker '{model_id}' in {path} cannot be loaded: {error}"
            raise ModelNotFoundError(what, hint="install the model again") from error
