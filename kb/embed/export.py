"""The ONNX export of a model: made once with torch, then run without it.

onnxruntime loads and answers in the time that torch needs for the first tenth of its import. An export that does not
agree with torch is never used.
"""

from __future__ import annotations

import logging
import os
import shutil
from importlib import metadata
from typing import TYPE_CHECKING, Any

from kb.embed.bulk import PROBES, load, quiet
from kb.embed.cache import cache_dir, make_once, recall, remember
from kb.embed.encoder import check_vectors
from kb.embed.folder import digest_of
from kb.embed.padding import rectangle
from kb.errors import EncoderError, LimitError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kb.embed.encoder import Vectors
    from kb.embed.folder import ModelFolder
    from kb.embed.tokens import Tokeniser

_LOG = logging.getLogger("kb")
_EXPORT_VERSION = 1
_FILE = "model.onnx"
_REFUSED = "exports-refused.json"
_LARGEST_DIFFERENCE = 1e-4


class ExportedModel:
    """An export opened in onnxruntime. Safe to use from several threads."""

    def __init__(self, folder: Path, dimension: int, model_id: str) -> None:
        import onnxruntime

        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = _cores()
        # Threads that spin between two queries would burn the cores of a server that has nothing to do.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(folder / _FILE), sess_options=options, providers=["CPUExecutionProvider"]
        )
        self._dimension = dimension
        self._id = model_id

    def encode(self, rows: Sequence[Sequence[int]]) -> Vectors:
        """Embed texts given as token ids; shape (len(rows), dimension), float32, rows of length 1."""
        ids, mask = rectangle(rows)
        try:
            answer = self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        # The library's errors have no common class of their own.
        except Exception as error:
            raise EncoderError(f"model '{self._id}' failed in onnxruntime: {error}") from error
        return check_vectors(answer, len(rows), self._dimension)


def export_path(folder: ModelFolder, sha256: str) -> Path:
    """Return where the export of a model is or would be kept; two models never share it.

    Raises:
        ConfigError: There is no cache folder.
    """
    return cache_dir() / "exports" / f"{digest_of(folder, sha256)[:32]}-{_EXPORT_VERSION}"


def open_export(path: Path, folder: ModelFolder, model_id: str) -> ExportedModel | None:
    """Open an export that was made before; None when there is none. One that cannot be read is removed."""
    if not (path / _FILE).is_file():
        return None
    try:
        return ExportedModel(path, folder.dimension, model_id)
    except ImportError as error:
        _LOG.warning("queries of model %s stay with torch: %s", model_id, error)
    # A damaged file makes onnxruntime raise classes of its own and the bare one alike.
    except Exception as error:
        _LOG.warning("the exported model %s cannot be read and is removed: %s", path, error)
        shutil.rmtree(path, ignore_errors=True)
    return None


def make_export(path: Path, folder: ModelFolder, tokeniser: Tokeniser, model_id: str) -> bool:
    """Export a model, once; imports torch.

    Returns:
        Whether there is a usable export now. A model whose export failed is tried again only with another torch.
    """
    refusal = f"{path.name}|torch {metadata.version('torch')}"
    if recall(_REFUSED, refusal) is not None:
        return False
    _LOG.info("preparing model %s for fast queries, once; this takes some seconds", model_id)

    def fill(draft: Path) -> None:
        reason = _export(draft, folder, tokeniser, model_id)
        if reason:
            raise EncoderError(reason)

    try:
        make_once(path, fill)
    except EncoderError as error:
        _LOG.warning("model %s has no export, queries stay with torch: %s", model_id, error)
        remember(_REFUSED, refusal, error.what)
        return False
    except (ImportError, OSError, LimitError) as error:
        _LOG.warning("model %s cannot be exported here, queries stay with torch: %s", model_id, error)
        return False
    return True


def _export(draft: Path, folder: ModelFolder, tokeniser: Tokeniser, model_id: str) -> str:
    """Write the export and compare it with torch; return why it must not be used, or nothing."""
    model = load(folder.path, model_id)
    try:
        with quiet():
            reference = model.encode(list(PROBES), prompt="", show_progress_bar=False)
            _write(model, draft / _FILE)
        exported = ExportedModel(draft, folder.dimension, model_id)
    except ImportError:
        raise
    # torch.onnx raises whatever the model's code raises while it is traced.
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    expected = check_vectors(reference, len(PROBES), folder.dimension)
    rows = tokeniser.numbers(PROBES)
    answers = [exported.encode(rows), *(exported.encode([row]) for row in rows)]
    wanted = [expected, *(expected[index : index + 1] for index in range(len(PROBES)))]
    difference = max(float(abs(answer - want).max()) for answer, want in zip(answers, wanted, strict=True))
    return "" if difference < _LARGEST_DIFFERENCE else f"it differs from torch by {difference:.1e}"


def _write(model: Any, file: Path) -> None:
    import torch

    class Whole(torch.nn.Module):  # type: ignore[misc]
        """The transformer, its pooling and its normalisation as one function of two arrays."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            vectors: torch.Tensor = self.inner({"input_ids": input_ids, "attention_mask": attention_mask})[
                "sentence_embedding"
            ]
            return vectors

    ids = torch.ones((2, 9), dtype=torch.int64)
    shape = {0: torch.export.Dim("texts"), 1: torch.export.Dim("tokens")}
    with torch.inference_mode():
        torch.onnx.export(
            Whole().eval(),
            (ids, torch.ones_like(ids)),
            str(file),
            input_names=["input_ids", "attention_mask"],
            output_names=["vectors"],
            dynamic_shapes={"input_ids": shape, "attention_mask": shape},
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
