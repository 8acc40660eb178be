"""Layer 6: measuring models and answers."""

from __future__ import annotations

from kb.evaluate.calibrate import CalibrationStep, calibrate
from kb.evaluate.compare import Comparison, compare
from kb.evaluate.known import KnownQuery, read_known

__all__ = ["CalibrationStep", "Comparison", "KnownQuery", "calibrate", "compare", "read_known"]
