"""``kb.open``: from a folder to an open knowledge base."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kb import config
from kb.knowledge_base import KnowledgeBase

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from kb.embed import Encoder


def open_base(
    path: str | os.PathLike[str], *, create: bool = True, encoders: Mapping[str, Encoder] | None = None
) -> KnowledgeBase:
    """Open the knowledge base in a folder; available as ``kb.open``.

    Args:
        path: The folder with ``config.toml``.
        create: Whether to make a new one where there is none: the folder and a minimal ``config.toml``.
        encoders: Models of your own, by the id that collections name.

    Raises:
        NoKnowledgeBaseError: There is none, and ``create`` is False.
        ConfigError: Its ``config.toml`` cannot be used.
        LockedError: This process has it open already.
    """
    root = Path(path).expanduser()
    if create and not (root / config.FILE_NAME).exists():
        root.mkdir(parents=True, exist_ok=True)
        (root / config.FILE_NAME).write_text(f'[storage]\npath = "{config.DEFAULT_STORAGE}"\n')
    return KnowledgeBase(config.load_settings(config.find_root(root)), encoders=encoders)
