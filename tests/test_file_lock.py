"""Locks between processes, here between threads: the operating system does not tell these apart."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from kb.file_lock import FileLock, is_held


def test_a_lock_that_was_waited_for_is_on_the_file_of_that_name(tmp_path: Path) -> None:
    path = tmp_path / "job"
    first = FileLock(path)
    taken: list[FileLock] = []
    waiting = threading.Thread(target=lambda: taken.append(FileLock(path, wait=60)))
    waiting.start()
    path.unlink()  # as the end of a job does, before it lets go
    first.release()
    waiting.join()
    assert is_held(path)
    with pytest.raises(BlockingIOError):
        FileLock(path)
    taken[0].release()
    assert not is_held(path)


def test_a_folder_can_be_locked(tmp_path: Path) -> None:
    held = FileLock(tmp_path)
    assert is_held(tmp_path)
    held.release()
    assert list(tmp_path.iterdir()) == []
