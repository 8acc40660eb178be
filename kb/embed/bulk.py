"""Many texts through sentence-transformers on the CPU, in the fastest precision that agrees with float32.

Measured with all-MiniLM-L6-v2 on two cores with AVX512-BF16, texts of 109 tokens: ``SentenceTransformer.encode`` in
float32 37 texts/s; in bfloat16, sorted, in batches of a fixed number of tokens 98/s; the same with a batch per core
instead of two cores for each batch 113/s, when all cores multiply at their peak for seven tenths of the time. Turned
down: our own forward pass without padding (111/s), and 8-bit weights (faster, but they agree with float32 only to
0.997).
"""

from __future__ import annotations

import contextlib
import logging
import platform
import threading
import time
import warnings
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kb.embed.cache import recall, remember
from kb.embed.encoder import FINGERPRINT_SENTENCES, check_vectors
from kb.embed.folder import digest_of
from kb.embed.padding import batches, rectangle
from kb.errors import EncoderError, ModelNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sentence_transformers import SentenceTransformer

    from kb.embed.encoder import Vectors
    from kb.embed.folder import ModelFolder
    from kb.embed.tokens import Tokeniser

_LOG = logging.getLogger("kb")
_DECISIONS = "precision.json"
# Raised when the way of probing or of computing changes, so that old decisions are made anew.
_PROBE_VERSION = 2
# On the worst sentence, and above FINGERPRINT_AGREEMENT: a fingerprint taken in one precision is compared in another.
_LEAST_AGREEMENT = 0.9995
_SAME = 1e-4
# Larger batches leave the processor's cache, smaller ones leave it idle.
_BATCH_TOKENS = 2048
_SLAB = 4096

PROBES = (
    "Water boils at 100 degrees Celsius at sea level.",
    "how do I reset my password?",
    "Über den Wolken muß die Freiheit wohl grenzenlos sein — sagte er; 東京タワーは高さ333メートル。",
    "ERROR 2024-02-29T23:59:59Z worker[17]: segfault at 0x7ffde4 (core dumped)!!",
    "A knowledge base keeps documents, finds them again by what they mean, and says how sure it is. " * 6,
)
"""Texts on which two ways of computing are compared: short, long, accented, not Latin, technical."""


class BulkModel:
    """One loaded model. Loading imports torch, which takes seconds: make one only when it is needed."""

    def __init__(self, folder: ModelFolder, tokeniser: Tokeniser, model_id: str, sha256: str) -> None:
        self._folder = folder
        self._tokeniser = tokeniser
        self._id = model_id
        self._lock = threading.Lock()
        self._workers, self._ahead = _workers()
        self._model = load(folder.path, model_id)
        found = self._model.get_embedding_dimension()
        if found != folder.dimension:
            what = f"model '{model_id}' has {found} dimensions, its description says {folder.dimension}"
            raise ModelNotFoundError(what, hint="install the model again")
        # Only the library leaves a prompt's tokens out of the mean.
        self._own_batches = folder.pools_prompt
        self.precision = "float32"
        if self._own_batches:
            self._choose(f"{digest_of(folder, sha256)[:32]}|{_processor()}|{_PROBE_VERSION}")

    def encode(self, texts: Sequence[str], prompt: str) -> Vectors:
        """Embed texts, each with the prompt before it; rows of length 1 in the order given.

        Raises:
            EncoderError: The model failed, or answered something that is no vector.
        """
        import numpy as np

        out = np.empty((len(texts), self._folder.dimension), dtype=np.float32)
        try:
            # One call at a time: two would share the cores, and need the memory twice.
            with self._lock:
                for indexes, vectors in self._computed(texts, prompt):
                    out[indexes] = vectors
        except (RuntimeError, MemoryError, IndexError, ValueError) as error:
            what = f"model '{self._id}' failed on {len(texts)} texts: {error}"
            raise EncoderError(what, unchanged="nothing was stored") from error
        return check_vectors(out, len(texts), self._folder.dimension)

    def _computed(self, texts: Sequence[str], prompt: str) -> Iterator[tuple[list[int], Any]]:
        # Sorted by characters first, so that each slab holds texts of similar length and the tokens of few are kept.
        order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
        for start in range(0, len(order), _SLAB):
            slab = order[start : start + _SLAB]
            if not self._own_batches:
                yield slab, self._by_library([texts[index] for index in slab], prompt)
                continue
            rows = self._tokeniser.numbers([prompt + texts[index] for index in slab])
            parts = list(batches(list(map(len, rows)), _BATCH_TOKENS))
            found = self._forwarded([[rows[index] for index in part] for part in parts])
            for part, vectors in zip(parts, found, strict=True):
                yield [slab[index] for index in part], vectors

    def _forwarded(self, parts: list[list[list[int]]]) -> Iterator[Any]:
        """Compute on all threads, with few parts handed out at a time: the end of the process waits for those."""
        handed: deque[Future[Any]] = deque()
        try:
            for part in parts:
                handed.append(self._hand_out(part))
                if len(handed) > self._ahead:
                    yield handed.popleft().result()
            while handed:
                yield handed.popleft().result()
        finally:
            for future in handed:
                future.cancel()

    def _hand_out(self, part: list[list[int]]) -> Future[Any]:
        try:
            return self._workers.submit(self._forward, part)
        except RuntimeError as error:
            # The interpreter is ending under a thread that still embeds: the model has not failed, the work is cut off.
            raise SystemExit(str(error)) from error

    def _forward(self, rows: list[list[int]]) -> Any:
        import torch

        ids, mask = rectangle(rows)
        with torch.inference_mode():
            features = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
            return self._model(features)["sentence_embedding"].float().numpy()

    def _by_library(self, texts: list[str], prompt: str) -> Any:
        vectors = self._model.encode_document(texts, prompt=prompt, show_progress_bar=False, convert_to_tensor=True)
        return vectors.float().numpy()

    def _choose(self, key: str) -> None:
        """Set precision and batching, by the decision on record or by trying."""
        decision = recall(_DECISIONS, key)
        if decision not in {"float32", "bfloat16", "library"}:
            decision = self._tried()
            remember(_DECISIONS, key, decision)
        self._own_batches = decision != "library"
        if decision == "bfloat16":
            self._to("bfloat16")
        _LOG.debug("model %s computes in %s on this processor", self._id, self.precision)

    def _tried(self) -> str:
        prompt = self._folder.document_prompt
        texts = [*PROBES, *FINGERPRINT_SENTENCES]
        reference = check_vectors(self._by_library(texts, prompt), len(texts), self._folder.dimension)
        plain, plain_seconds = self._timed(texts, prompt)
        if float(abs(plain - reference).max()) > _SAME:
            return "library"
        if not _has_bfloat16():
            return "float32"
        self._to("bfloat16")
        fast, fast_seconds = self._timed(texts, prompt)
        agreement = float((fast * reference).sum(axis=1).min())
        if agreement >= _LEAST_AGREEMENT and fast_seconds < plain_seconds:
            return "bfloat16"
        # Rounded weights do not become exact again.
        self._model = load(self._folder.path, self._id)
        self.precision = "float32"
        return "float32"

    def _timed(self, texts: list[str], prompt: str) -> tuple[Vectors, float]:
        """Return the vectors, and the seconds of the quickest of four runs: load only ever adds to them."""
        seconds = []
        for _ in range(4):
            start = time.perf_counter()
            vectors = self.encode(texts, prompt)
            seconds.append(time.perf_counter() - start)
        return vectors, min(seconds)

    def _to(self, precision: str) -> None:
        import torch

        if precision != self.precision:
            self._model.to(getattr(torch, precision))
            self.precision = precision


def _workers() -> tuple[ThreadPoolExecutor, int]:
    """Return one thread for each that torch may use, each computing alone, and how many parts keep them busy.

    Cores that share every operation wait for each other after every operation. torch keeps the number of threads per
    thread, and a default for new ones, which is put back: nobody else's computing is slowed down.
    """
    import torch

    count = torch.get_num_threads()
    started = threading.Barrier(count + 1)

    def alone() -> None:
        torch.set_num_threads(1)
        started.wait()

    workers = ThreadPoolExecutor(count, thread_name_prefix="kb-embed", initializer=alone)
    for _ in range(count):
        workers.submit(int)
    started.wait()
    torch.set_num_threads(count)
    return workers, 2 * count


def load(path: Path, model_id: str) -> SentenceTransformer:
    """Load a model in float32 on the CPU, silently, from safetensors, running no code from its folder.

    Raises:
        ModelNotFoundError: The weights cannot be loaded.
    """
    with quiet():
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            what = f"model '{model_id}' needs the package sentence-transformers"
            raise ModelNotFoundError(what, hint="pip install sentence-transformers") from error
        arguments = {"use_safetensors": True, "dtype": "float32"}
        try:
            model = SentenceTransformer(
                str(path), device="cpu", local_files_only=True, trust_remote_code=False, model_kwargs=arguments
            )
        # A damaged file surfaces as any of a dozen classes of four libraries.
        except Exception as error:
            what = f"the weights of model '{model_id}' in {path} cannot be loaded: {error}"
            raise ModelNotFoundError(what, hint="install the model again") from error
    return model.eval()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' progress bars, advice and warnings off the terminal, and put their settings back."""
    names = ("transformers", "sentence_transformers", "torch", "onnxscript", "onnx_ir")
    levels = {name: logging.getLogger(name).level for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers.utils import logging as verbosity

        bars = verbosity.is_progress_bar_enabled()
        verbosity.disable_progress_bar()
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
            if bars:
                verbosity.enable_progress_bar()


def _has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware; elsewhere it is slower than float32."""
    import torch

    tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, test, lambda: False)() for test in tests)


def _processor() -> str:
    """Name the processor and torch, on both of which a decision depends."""
    import torch

    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8") as file:
        name = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), name)
    return f"{name}|{_has_bfloat16()}|torch {torch.__version__}"
