"""Layer 6: looking after a knowledge base."""

from __future__ import annotations

from kb.maintain.backup import BACKUPS, Backup, check_backup, create_backup, find_backup, list_backups
from kb.maintain.manifest import Manifest
from kb.maintain.problem import Problem
from kb.maintain.recover import Recovered, recover
from kb.maintain.restoring import restore_backup
from kb.maintain.salvage import damage_problems, readable_collections, unreadable
from kb.maintain.stats import CollectionStats, Stats, collection_stats, disk_bytes
from kb.maintain.verify import look_through, verify

__all__ = [
    "BACKUPS",
    "Backup",
    "CollectionStats",
    "Manifest",
    "Problem",
    "Recovered",
    "Stats",
    "check_backup",
    "collection_stats",
    "create_backup",
    "damage_problems",
    "disk_bytes",
    "find_backup",
    "list_backups",
    "look_through",
    "readable_collections",
    "recover",
    "restore_backup",
    "unreadable",
    "verify",
]
