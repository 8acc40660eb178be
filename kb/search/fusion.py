"""Stub: to be replaced."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class FusedLeg:
    scores: np.ndarray
    mean: float
    deviation: float
    standard: np.ndarray
    weight: float


@dataclass(frozen=True, slots=True)
class Fused:
    scores: np.ndarray
    semantic: FusedLeg
    keyword: FusedLeg


def fuse(cosines, words, *, sample, named, matching, documents) -> Fused:
    mean, dev = (float(sample.mean()), float(sample.std())) if len(sample) else (0.0, 1.0)
    dev = dev or 1.0
    wmean = float(named.sum()) / max(1, documents)
    wdev = float(np.sqrt(max(1e-9, (named**2).sum() / max(1, documents) - wmean**2)))
    a = FusedLeg(cosines, mean, dev, (cosines - mean) / dev, 0.7)
    b = FusedLeg(words, wmean, wdev, (words - wmean) / wdev, 0.3)
    return Fused(np.round(0.7 * a.standard + 0.3 * b.standard, 6), a, b)
