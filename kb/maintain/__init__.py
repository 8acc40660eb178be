"""Layer 6: looking after a knowledge base."""

from __future__ import annotations

from kb.maintain.backup import BACKUPS, Backup, check_backup, create_backup, find_backup, list_backups
from kb.maintain.doctor import examine
from kb.maintain.finding import Examination, Fact, Finding, Severity
from kb.maintain.gc import CompactPlan, GcPlan, Rubbish, compact, gc, plan_compact, plan_gc
from kb.maintain.manifest import Manifest
from kb.maintain.problem import Problem
from kb.maintain.purge import Doomed, PurgePlan, check_idle, deleted_before, deleted_ids, plan_purge, purge
from kb.maintain.rebuild import RebuildPlan, RebuildStep, plan_rebuild, rebuild
from kb.maintain.recover import Recovered, recover
from kb.maintain.reembed_cost import ReembedEstimate, estimate_reembed
from kb.maintain.restore import restore_backup
from kb.maintain.salvage import damage_problems, readable_collections, unreadable
from kb.maintain.stats import CollectionStats, Stats, collection_stats, disk_bytes
from kb.maintain.step import Cleaned, Step
from kb.maintain.verify import look_through, verify

__all__ = [
    "BACKUPS",
    "Backup",
    "Cleaned",
    "CollectionStats",
    "CompactPlan",
    "Doomed",
    "Examination",
    "Fact",
    "Finding",
    "GcPlan",
    "Manifest",
    "Problem",
    "PurgePlan",
    "RebuildPlan",
    "RebuildStep",
    "Recovered",
    "ReembedEstimate",
    "Rubbish",
    "Severity",
    "Stats",
    "Step",
    "check_backup",
    "check_idle",
    "collection_stats",
    "compact",
    "create_backup",
    "damage_problems",
    "deleted_before",
    "deleted_ids",
    "disk_bytes",
    "estimate_reembed",
    "examine",
    "find_backup",
    "gc",
    "list_backups",
    "look_through",
    "plan_compact",
    "plan_gc",
    "plan_purge",
    "plan_rebuild",
    "purge",
    "readable_collections",
    "rebuild",
    "recover",
    "restore_backup",
    "unreadable",
    "verify",
]
