"""Layer 6: measuring models and answers."""

from __future__ import annotations

from kb.evaluate.calibrate import CalibrationStep, calibrate
from kb.evaluate.cases import Cases, JudgedQuery, Pair, PairColumns, read_cases, read_pairs, read_queries
from kb.evaluate.compare import Comparison, compare
from kb.evaluate.gate import Gate, Side, compare_generations
from kb.evaluate.metrics import Estimate
from kb.evaluate.pairs import AtThreshold, PairEvaluation, ScoredPair, evaluate_pairs
from kb.evaluate.run import (
    DEFAULT,
    MAIN,
    Answers,
    Difference,
    Evaluation,
    EvaluationStep,
    ModeFigures,
    QueryScores,
    Wanted,
    by_mode,
    difference,
    evaluate,
)

__all__ = [
    "DEFAULT",
    "MAIN",
    "Answers",
    "AtThreshold",
    "CalibrationStep",
    "Cases",
    "Comparison",
    "Difference",
    "Estimate",
    "Evaluation",
    "EvaluationStep",
    "Gate",
    "JudgedQuery",
    "ModeFigures",
    "Pair",
    "PairColumns",
    "PairEvaluation",
    "QueryScores",
    "ScoredPair",
    "Side",
    "Wanted",
    "by_mode",
    "calibrate",
    "compare",
    "compare_generations",
    "difference",
    "evaluate",
    "evaluate_pairs",
    "read_cases",
    "read_pairs",
    "read_queries",
]
