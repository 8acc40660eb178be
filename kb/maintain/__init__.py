"""Layer 6: looking after a knowledge base."""

from __future__ import annotations

from kb.maintain.backup import BACKUPS, Backup, check_backup, create_backup, find_backup, list_backups
from kb.maintain.doctor import examine
from kb.maintain.finding import Examination, Fact, Finding, Severity
from kb.maintain.manifest import Manifest
from kb.maintain.problem import Problem
from kb.maintain.rebuild import RebuildPlan, RebuildStep, plan_rebuild, rebuild
from kb.maintain.reembed_cost import ReembedEstimate, estimate_reembed
from kb.maintain.restoring import restore_backup
from kb.maintain.stats import CollectionStats, Stats, collection_stats, disk_bytes
from kb.maintain.verify import verify

__all__ = [
    "BACKUPS",
    "Backup",
    "CollectionStats",
    "Examination",
    "Fact",
    "Finding",
    "Manifest",
    "Problem",
    "RebuildPlan",
    "RebuildStep",
    "ReembedEstimate",
    "Severity",
    "Stats",
    "check_backup",
    "collection_stats",
    "create_backup",
    "disk_bytes",
    "estimate_reembed",
    "examine",
    "find_backup",
    "list_backups",
    "plan_rebuild",
    "rebuild",
    "restore_backup",
    "verify",
]
