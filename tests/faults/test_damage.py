"""Damaged files of the indexes: found, contained and mended; never a wrong answer, never a traceback."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import kb
from kb.cli.main import run
from kb.embed import HashingEncoder
from kb.index.chroma import SYNC_VARIABLE
from tests.conftest import CONFIG, make

SEEDS = range(int(os.environ.get("KB_DAMAGE_SEEDS", "2")))
GRAPH = ("header.bin", "data_level0.bin", "length.bin", "link_lists.bin", "index_metadata.pickle")
QUESTIONS = ("w1 w2 w3", "same words here", "w77", "glacier w5")
MODES = ("semantic", "keyword", "hybrid")

Answers = dict[tuple[str, str], list[tuple[str, float]]]


@dataclass(frozen=True)
class Made:
    """A knowledge base as it was left by a clean stop and by a kill, and what it answers."""

    clean: Path
    unclean: Path
    answers: Answers


def answers(collection: kb.Collection) -> Answers:
    found = {}
    for text in QUESTIONS:
        for mode in MODES:
            hits = collection.search(text, mode=mode, limit=8, where=None)
            found[text, mode] = [(hit.id, hit.score) for hit in hits]
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("damage")
    root, unclean = folder / "clean", folder / "unclean"
    root.mkdir()
    (root / "config.toml").write_text(CONFIG.replace('"fake"', '"hashing-256"'))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SYNC_VARIABLE, "20")
        with kb.open(root) as base:
            articles = base.collection()
            words = [f"w{n % 40} w{n % 7} w{n}" for n in range(130)]
            articles.upsert(*(make(articles, f"a{n}", body=f"glacier {text}") for n, text in enumerate(words)))
            articles.upsert(*(make(articles, f"b{n}", title="same", body="same words here") for n in range(5)))
            articles.delete(*(f"a{n}" for n in range(0, 130, 13)))
            articles.upsert(*(make(articles, f"c{n}", body=f"river {n}") for n in range(7)))
            expected = answers(articles)
            check_oracle(articles, expected)
            # What a kill would leave: everything that has been written, and nothing closed.
            shutil.copytree(root, unclean)
    return Made(root, unclean, expected)


def check_oracle(articles: kb.Collection, expected: Answers) -> None:
    """Hold the semantic answers against numpy."""
    model, entries = HashingEncoder(), articles.entries()
    matrix = model.encode_documents([entry.text for entry in entries]).astype(np.float64)
    for text in QUESTIONS:
        scores = np.round(matrix @ model.encode_query(text).astype(np.float64), 6)
        ranked = sorted(
            zip((e.id for e in entries), scores.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0])
        )
        assert expected[text, "semantic"] == ranked[:8]


@pytest.fixture(params=["clean", "unclean"])
def root(request: pytest.FixtureRequest, made: Made, tmp_path: Path) -> Path:
    copy = tmp_path / "base"
    shutil.copytree(getattr(made, request.param), copy)
    return copy


@pytest.fixture(autouse=True)
def chroma_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small collection would be scanned, and nobody would see what Chroma answers."""
    monkeypatch.setattr("kb.search.semantic.SMALL", 0)


def segment(chroma: Path) -> Path:
    return next(path.parent for path in chroma.glob("*/data_level0.bin"))


def in_graph(name: str, change: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda chroma: change(segment(chroma) / name)


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def garbage(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(max(1_000, path.stat().st_size)))


def flip(path: Path, seed: int) -> None:
    chosen = random.Random(f"{path.name}{seed}")
    content = bytearray(path.read_bytes())
    for _ in range(1 + seed % 20):
        content[chosen.randrange(len(content))] ^= 1 << chosen.randrange(8)
    path.write_bytes(content)


def sparse(path: Path) -> None:
    os.truncate(path, 1 << 40)


def only_tail(chroma: Path) -> None:
    """The graph is gone, and only what is still in Chroma's own log would be searched, without a word."""
    shutil.rmtree(segment(chroma))


def wild_links(path: Path) -> None:
    """Links that pass as numbers and point far outside of the memory."""
    content = bytearray(path.read_bytes())
    for at in range(0, len(content) - 1_164, 1_164):
        content[at + 4 : at + 8] = struct.pack("<I", 0x7FFFFFF0)
    path.write_bytes(content)


def lonely(path: Path) -> None:
    """No element has a link: all of them are there, and none is found."""
    content = bytearray(path.read_bytes())
    size = struct.unpack_from("<Q", (path.parent / "header.bin").read_bytes(), 28)[0]
    for at in range(0, len(content), size):
        content[at : at + 2] = b"\0\0"
    path.write_bytes(content)


def database(change: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda chroma: change(chroma / "chroma.sqlite3")


def sql(statement: str) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        connection = sqlite3.connect(path)
        connection.execute(statement)
        connection.commit()
        connection.close()

    return database(change)


def to_file(chroma: Path) -> None:
    shutil.rmtree(chroma)
    chroma.write_text("a file")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "A13-pickle-emptied": in_graph("index_metadata.pickle", empty),
    "A13-pickle-halved": in_graph("index_metadata.pickle", halve),
    "A13-pickle-garbage": in_graph("index_metadata.pickle", garbage),
    "A13-pickle-garbage-framed": in_graph(
        "index_metadata.pickle", lambda path: path.write_bytes(b"\x80\x04" + random.Random(2).randbytes(500) + b".")
    ),
    "A14-pickle-deleted": in_graph("index_metadata.pickle", Path.unlink),
    "A14-segment-deleted": only_tail,
    "A15-level0-truncated": in_graph("data_level0.bin", halve),
    "A15-level0-emptied": in_graph("data_level0.bin", empty),
    "A15-level0-deleted": in_graph("data_level0.bin", Path.unlink),
    "A15-level0-zero-filled": in_graph("data_level0.bin", zero),
    "A15-level0-garbage": in_graph("data_level0.bin", garbage),
    "A15-level0-wild-links": in_graph("data_level0.bin", wild_links),
    "A15-level0-no-links": in_graph("data_level0.bin", lonely),
    "A16-link-lists-sparse": in_graph("link_lists.bin", sparse),
    "A16-link-lists-emptied": in_graph("link_lists.bin", empty),
    "A16-link-lists-garbage": in_graph("link_lists.bin", garbage),
    "A16-level0-sparse": in_graph("data_level0.bin", sparse),
    "A15-header-emptied": in_graph("header.bin", empty),
    "A15-header-zero-filled": in_graph("header.bin", zero),
    "A15-header-garbage": in_graph("header.bin", garbage),
    "A15-length-zero-filled": in_graph("length.bin", zero),
    "A15-length-halved": in_graph("length.bin", halve),
    "A15-length-deleted": in_graph("length.bin", Path.unlink),
    "A17-database-malformed": database(lambda path: path.write_bytes(path.read_bytes()[:5_000] + b"x" * 90_000)),
    "A17-database-garbage": database(garbage),
    "A17-database-missing": database(Path.unlink),
    "A17-database-emptied": database(empty),
    "A17-database-halved": database(halve),
    "A17-database-without-tables": sql("DROP TABLE embeddings"),
    "A17-database-without-rows": sql("DELETE FROM embeddings WHERE id % 3 = 0"),
    "A17-database-without-values": sql("UPDATE embedding_metadata SET key = 'other' WHERE key = 'document' AND id < 9"),
    "A17-journal-of-nobody": lambda chroma: (chroma / "chroma.sqlite3-journal").write_bytes(b"\xd9\xd5" * 300),
    "A17-segments-of-nobody": sql("UPDATE segments SET id = 'none' WHERE scope = 'VECTOR'"),
    "D3-newer-database": sql("INSERT INTO migrations VALUES ('sysdb', 99, '00099-x.sqlite.sql', 'SELECT 1', 'x')"),
    "D4-blobs-as-numbers": sql("UPDATE max_seq_id SET seq_id = x'0000000000000005'"),
    "folder-deleted": shutil.rmtree,
    "folder-a-file": to_file,
    "folder-emptied": lambda chroma: [shutil.rmtree(chroma), chroma.mkdir()],
    **{
        f"A15-{name}-flipped-{seed}": in_graph(name, lambda path, seed=seed: flip(path, seed))
        for name in GRAPH
        for seed in SEEDS
    },
    **{f"A17-database-flipped-{seed}": database(lambda path, seed=seed: flip(path, seed)) for seed in SEEDS},
}
MAY_BE_HARMLESS = (
    "flipped",
    "length-zero",
    "journal-of-nobody",
    "newer-database",
    "folder-deleted",
    "folder-emptied",
    "no-links",
)


def put_aside(root: Path) -> list[str]:
    return sorted(path.name.rpartition("-")[0] for path in (root / ".kb").glob("quarantine/*"))


def check_mended(root: Path, made: Made) -> None:
    """It answers as before, at once and after another opening, and nothing is left to find."""
    for _ in range(2):
        with kb.open(root) as base:
            assert answers(base.collection()) == made.answers
            assert list(base.verify(full=True)) == []
        assert (root / ".kb" / "index.seal").exists()
        assert not (root / ".kb" / "index.stops").exists()


@pytest.mark.parametrize("damage", DAMAGES)
def test_faults_A3_A13_A14_A15_A16_A17_D3_D4_damage_of_chroma_is_mended(damage: str, root: Path, made: Made) -> None:
    DAMAGES[damage](root / ".kb" / "chroma")
    check_mended(root, made)
    if not any(part in damage for part in MAY_BE_HARMLESS):
        assert put_aside(root) == ["chroma"]


@pytest.mark.parametrize(("writer", "expected"), [("0.6.3", []), ("1.5.8", []), ("99.0.0", ["chroma"])])
def test_faults_D3_an_index_of_another_chromadb_is_looked_at_and_of_a_later_one_built_again(
    writer: str, expected: list[str], made: Made, tmp_path: Path
) -> None:
    root = tmp_path / "base"
    shutil.copytree(made.clean, root)
    seal = root / ".kb" / "index.seal"
    seal.write_text(json.dumps({**json.loads(seal.read_text()), "chromadb": writer}))
    check_mended(root, made)
    assert put_aside(root) == expected


@pytest.mark.parametrize("damage", DAMAGES)
def test_faults_A17_the_command_line_answers_over_damage(
    damage: str, made: Made, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "base"
    shutil.copytree(made.unclean, root)
    DAMAGES[damage](root / ".kb" / "chroma")
    assert run(["search", "w1 w2 w3", "-k", "8", "--mode", "semantic", "--format", "json", "--kb", str(root)]) == 0
    assert run(["verify", "--full", "--kb", str(root)]) == 0
    printed = capfd.readouterr()
    assert "Traceback" not in printed.err
    assert all(f'"{id}"' in printed.out for id, _ in made.answers["w1 w2 w3", "semantic"])
