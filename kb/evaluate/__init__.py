"""Layer 6: measuring models and answers."""

from __future__ import annotations

from kb.evaluate.compare import Comparison, compare

__all__ = ["Comparison", "compare"]
