"""The index of words: what it finds, in which order, with which score, whatever it has been through."""

from __future__ import annotations

import math
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from kb.config import LANGUAGES
from kb.errors import DamagedError
from kb.index import WordIndex, WordQuery, WordRecord, remove_words, words_folder
from kb.index.word_query import MAX_WORD_BYTES
from tests.conftest import ROOT

TEXTS = {
    1: "The glacier melts slowly. Glaciers shrink.",
    2: "Running rivers carry ice",
    3: "A river of melted ice runs to the sea",
    4: "Café in Zürich, naïve and déjà vu",
    5: "New York is not York",
    6: "York, new and old",
}


def records(texts: dict[int, str]) -> list[WordRecord]:
    return [WordRecord(f"a{seq}", seq, seq * 7, text) for seq, text in texts.items()]


def made(texts: dict[int, str], language: str = "english") -> WordIndex:
    index = WordIndex(None, language)
    index.replace(records(texts), ())
    return index


def found(index: WordIndex, text: str, limit: int = 10, **options: object) -> list[int]:
    return index.search(index.parse(text), limit, **options).seqs.tolist()


@pytest.fixture(scope="module")
def index() -> WordIndex:
    return made(TEXTS)


def test_words_are_found_by_their_stem_in_any_case_without_accents(index):
    assert found(index, "GLACIERS") == [1]
    assert sorted(found(index, "melting")) == [1, 3]
    assert found(index, "cafe zurich") == found(index, "CAFÉ, Zürich!") == [4]
    assert found(index, "volcano") == []


def test_more_and_rarer_words_come_first(index):
    assert found(index, "running ice") == [2, 3]
    assert found(index, "melt the sea")[0] == 3


def test_a_query_is_its_words_and_its_phrases(index):
    assert index.parse('Glaciers "new york" and “melted ICE” "" "!"') == WordQuery(
        ("glacier", "new", "york", "and", "melt", "ice"), (1, 1, 1, 1, 1, 1), (("new", "york"), ("melt", "ice"))
    )
    assert index.parse('5" disks and "one') == WordQuery(("5", "disk", "and", "one"), (1, 1, 1, 1), (("disk", "and"),))
    assert index.parse('an unclosed "quote') == WordQuery(("an", "unclos", "quot"), (1, 1, 1))
    assert index.parse('"york" “york”').phrases == (("york",),)


def test_a_phrase_is_its_words_side_by_side_in_order(index):
    assert found(index, '"new york"') == [5, 6]
    assert found(index, '"new york"', all_phrases=True) == [5]
    assert found(index, '"york" ice', all_phrases=True) == [5, 6]
    assert found(index, '"new york" "not york"', all_phrases=True) == [5]
    assert found(index, '"new york" "ice"', all_phrases=True) == []
    assert index.holding(("new", "york")) == {5, 6}
    assert index.holding(("new", "york"), among=[6, 99]) == {6}
    assert index.holding(()) == set()


def test_a_phrase_scores_as_its_words_do(index):
    plain, quoted = (index.search(index.parse(text), 10) for text in ("new york", '"new york"'))
    assert quoted.scores.tolist() == plain.scores.tolist()


def test_a_word_that_is_said_twice_counts_twice(index):
    assert index.parse("ice and ices and ice") == WordQuery(("ice", "and"), (3, 2))
    once, twice = (index.search(index.parse(text), 10) for text in ("ice", "ice ice"))
    assert twice.scores.tolist() == pytest.approx((2 * once.scores).tolist(), rel=1e-4)


def test_a_word_that_is_too_long_to_be_indexed_divides_a_phrase():
    long = "x" * MAX_WORD_BYTES
    index = made({1: f"before {long} after that", 2: "before after"})
    assert index.parse(f'"before {long} after that"') == WordQuery(
        ("befor", "after", "that"), (1, 1, 1), (("befor",), ("after", "that"))
    )
    assert found(index, f'"before {long} after that"', all_phrases=True) == [1]
    assert found(index, "x" * (MAX_WORD_BYTES - 1)) == found(index, long) == []


@pytest.mark.parametrize(
    "text",
    [
        "title:glacier AND (river OR ice) ^2 ~ * + - [a TO b]",
        "glacier -glacier !glacier NOT glacier",
        "text:/gla.*/ gla* glacier~2 {a TO z} \\glacier",
        "key:a1 seq:1 any:true *:* glacier",
        "' OR 1=1 -- glacier",
    ],
)
def test_query_syntax_is_plain_words(index, text):
    plain = " ".join("".join(c if c.isalnum() else " " for c in text).split())
    assert index.parse(text) == index.parse(plain)
    assert index.parse(text).phrases == ()
    assert 1 in found(index, text)


@pytest.mark.parametrize("text", ["", " \t\n", "\0\x07\x1b[", "!?…", '"', '""', "“”", "\ud800", "🧊"])
def test_faults_G1_a_query_without_words_finds_nothing(index, text):
    query = index.parse(text)
    assert query == WordQuery((), ())
    for options in ({}, {"all_phrases": True}, {"among": [1, 2]}):
        matches = index.search(query, 10, **options)
        assert (matches.seqs.tolist(), matches.scores.tolist(), matches.total) == ([], [], 0)
    assert index.score(query, [1, 2]).tolist() == [0.0, 0.0]
    assert index.matched(query, TEXTS[1]) == ()


def test_faults_G1_control_and_broken_characters_part_words(index):
    assert index.parse("gla\0cier river\x1b[0m \udcffice") == WordQuery(
        ("gla", "cier", "river", "0m", "ice"), (1, 1, 1, 1, 1)
    )


def test_faults_G1_stop_words_alone_find_what_holds_them(index):
    assert sorted(found(index, "the of to")) == [1, 3]


def test_faults_G1_a_query_of_100_kB(index):
    text = " ".join(f"word{n}" for n in range(12_000)) + " glacier"
    assert len(text) > 100_000
    assert len(index.parse(text).words) == 12_001
    assert found(index, text) == [1]
    assert found(index, f'"{text}"', all_phrases=True) == []


def test_faults_G1_other_scripts(tmp_path):
    index = made({1: "Ледники тают", 2: "氷河 が 溶ける", 3: "הקרחון נמס", 4: "Οι παγετώνες λιώνουν"}, "none")
    for seq, word in ((1, "ЛЕДНИКИ"), (2, "氷河"), (3, "הקרחון"), (4, "Παγετώνες")):
        assert found(index, word) == [seq]
    assert found(made({1: "Ледники тают", 2: "реки"}, "russian"), "ледниками") == [1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_that_can_be_declared_has_an_index(language):
    assert found(made({1: "Haus 123", 2: "Maus"}, language), "123") == [1]


def test_equal_scores_are_ordered_by_number_and_cut_without_a_gap():
    index = WordIndex(None, "none")
    order = list(range(1, 301))
    random.Random(4).shuffle(order)
    for start in range(0, 300, 50):  # some segments
        some = order[start : start + 50]
        index.replace([WordRecord(f"a{seq}", seq, 0, "same words" + " more" * (seq % 3)) for seq in some], ())
    best = [seq for seq in range(1, 301) if seq % 3 == 0]
    for limit in (1, 7, 50, 99):
        matches = index.search(index.parse("same"), limit)
        assert (matches.seqs.tolist(), matches.total) == (best[:limit], 300)
    everything = index.search(index.parse("same"), 10**9)
    assert everything.seqs.tolist() == [*best, *(s for rest in (1, 2) for s in range(1, 301) if s % 3 == rest)]
    assert len(set(everything.scores.tolist())) == 3


def test_some_documents_can_be_searched_and_scored(index):
    query = index.parse("ice river york")
    everything = index.search(query, 10)
    known = dict(zip(everything.seqs.tolist(), everything.scores.tolist(), strict=True))
    assert sorted(known) == [2, 3, 5, 6]
    some = index.search(query, 10, among=[6, 2, 1, 999])
    assert (sorted(some.seqs.tolist()), some.total) == ([2, 6], 2)
    assert index.score(query, [1, 3, 999, 2]).tolist() == [0.0, known[3], 0.0, known[2]]
    assert index.score(query, []).tolist() == []
    assert index.search(query, 10, among=[]).total == 0


def test_the_words_of_the_query_are_shown_as_the_text_has_them(index):
    query = index.parse('running "MELTED ice" café')
    assert index.matched(query, "Ice melts. The Café – ice, melting runs.") == (
        *("Ice", "melts", "Café", "ice", "melting", "runs"),
    )
    assert index.matched(query, "😀 é runs\ud800") == ("runs",)


def naive(texts: dict[int, str], words: list[str]) -> dict[int, float]:
    """BM25 as it is written in a book: k1 = 1.2, b = 0.75."""
    counts = {seq: Counter(text.split()) for seq, text in texts.items()}
    mean = sum(c.total() for c in counts.values()) / len(counts)
    scores: Counter[int] = Counter()
    for word in words:
        having = [seq for seq, count in counts.items() if word in count]
        idf = math.log1p((len(counts) - len(having) + 0.5) / (len(having) + 0.5))
        for seq in having:
            tf = counts[seq][word]
            scores[seq] += idf * 2.2 * tf / (tf + 1.2 * (0.25 + 0.75 * counts[seq].total() / mean))
    return dict(scores)


def random_text(rng: random.Random) -> str:
    # Lengths of up to 40 words are stored exactly, longer ones are not.
    return " ".join(f"w{min(99, int(rng.paretovariate(0.6)))}" for _ in range(rng.randint(1, 40)))


def test_scores_are_bm25():
    rng = random.Random(1)
    texts = {seq: random_text(rng) for seq in range(1, 400)}
    index = made(texts, "none")
    for _ in range(50):
        words = rng.sample([f"w{n}" for n in range(1, 100)], rng.randint(1, 8))
        matches = index.search(index.parse(" ".join(words)), 1000)
        expected = naive(texts, words)
        assert matches.total == len(expected) == len(matches.seqs)
        scores = [expected[seq] for seq in matches.seqs.tolist()]
        assert np.allclose(matches.scores, scores, rtol=2e-5)
        assert (matches.scores > 0).all()
        assert (np.diff(matches.scores) <= 0).all()


def churned(rng: random.Random, operations: int) -> tuple[WordIndex, dict[str, WordRecord]]:
    """Return an index after so many random changes, in commits of a few, and what it should hold."""
    index = WordIndex(None, "none")
    living: dict[str, WordRecord] = {}
    seq = 0
    while operations > 0:
        fresh: dict[str, WordRecord] = {}
        gone: set[str] = set()
        for _ in range(min(operations, rng.randint(1, 60))):
            operations -= 1
            key = f"k{int(rng.paretovariate(0.5)) % 500}"
            if key in living and rng.random() < 0.25:
                del living[key]
                fresh.pop(key, None)
                gone.add(key)
                continue
            if key not in living:
                seq += 1
            number = living[key].seq if key in living else seq
            living[key] = fresh[key] = WordRecord(key, number, rng.getrandbits(64), random_text(rng))
        index.replace(fresh.values(), gone)
        if index.is_worn:
            index.rewrite(living.values())
    return index, living


def test_faults_G10_G11_5000_changes_leave_what_a_fresh_index_holds():
    rng = random.Random(2)
    index, living = churned(rng, 5_000)
    fresh = WordIndex(None, "none")
    fresh.replace(living.values(), ())
    assert index.documents == len(living)
    assert index.marks() == fresh.marks() == {one.seq: one.mark for one in living.values()}
    texts = {one.seq: one.text for one in living.values()}
    for _ in range(100):
        words = rng.sample([f"w{n}" for n in range(1, 100)], rng.randint(1, 5))
        query = index.parse(" ".join(words))
        changed, plain = index.search(query, 1000), fresh.search(query, 1000)
        expected = naive(texts, words)
        assert set(changed.seqs.tolist()) == set(plain.seqs.tolist()) == set(expected)
        scores = dict(zip(plain.seqs.tolist(), plain.scores.tolist(), strict=True))
        # Former versions are in the mean length, nowhere else.
        assert np.allclose(changed.scores, [scores[seq] for seq in changed.seqs.tolist()], rtol=0.03)
        assert index.holding(tuple(words[:2])) == fresh.holding(tuple(words[:2]))
    index.close()


def test_a_rare_word_keeps_its_weight_however_often_its_text_is_edited():
    index = WordIndex(None, "none")
    texts = {seq: f"common number{seq}" for seq in range(1, 200)}
    index.replace(records(texts), ())
    before = index.score(index.parse("number7"), [7])[0]
    for _ in range(40):
        index.replace(records({7: texts[7]}), ())
    assert not index.is_worn
    assert index.score(index.parse("number7"), [7])[0] == pytest.approx(before, rel=1e-4)


def test_an_index_wears_and_is_rewritten_in_one_commit(tmp_path):
    index = WordIndex(tmp_path / "words", "none", create=True)
    index.replace(records({1: "one", 2: "two"}), ())
    for number in range(20):
        index.replace(records({seq: f"version{number} of {seq}" for seq in range(1, 40)}), ())
    reader = WordIndex(tmp_path / "words", "none")
    index.rewrite(records({2: "two again", 3: "three"}))
    assert (index.is_worn, index.documents, found(index, "version19 again")) == (False, 2, [2])
    assert (reader.documents, found(reader, "again")) == (39, [])
    reader.refresh()
    assert (reader.documents, found(reader, "again")) == (2, [2])
    index.close()


def test_a_failed_write_leaves_nothing_in_the_next_one(tmp_path):
    index = WordIndex(tmp_path / "words", "none", create=True)
    index.replace(records({1: "one"}), ())

    def failing() -> Iterator[WordRecord]:
        yield WordRecord("a2", 2, 0, "two")
        raise KeyError("a2")

    with pytest.raises(KeyError):
        index.replace(failing(), ["a1"])
    index.replace(records({3: "three"}), ())
    assert index.marks() == {1: 7, 3: 21}
    shutil.rmtree(tmp_path / "words")
    with pytest.raises(DamagedError, match="^the index of words cannot be written: ValueError: "):
        index.replace(records({4: "four"}), ())
    index.close()


def test_numbers_and_marks_of_any_size_are_kept(tmp_path):
    index = WordIndex(tmp_path / "words", "none", create=True)
    index.replace([WordRecord("a", 2**62, 2**64 - 1, "big"), WordRecord("x" * 500, 1, 0, "small")], ())
    assert index.marks(among=[2**62]) == {2**62: 2**64 - 1}
    assert found(index, "big small") == [1, 2**62]
    index.close()


def test_a_reader_beside_a_writer_sees_whole_commits(tmp_path):
    writer = WordIndex(tmp_path / "words", "none", create=True)
    writer.replace(records({1: "one"}), ())
    code = (
        "import sys; from pathlib import Path; from kb.index import WordIndex\n"
        "index = WordIndex(Path(sys.argv[1]), 'none')\n"
        "while (line := sys.stdin.readline()):\n"
        "    index.refresh(); print(sorted(index.marks()), flush=True)\n"
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "words")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    seen = []
    for seq in range(2, 15):  # merges happen on the way
        writer.replace(records({seq: "more"}), [f"a{seq - 1}"] if seq % 3 == 0 else [])
        reader.stdin.write("?\n")
        reader.stdin.flush()
        seen.append(reader.stdout.readline() == f"{sorted(writer.marks())}\n")
    reader.communicate()
    writer.close()
    assert seen == [True] * 13


@pytest.mark.parametrize("damage", ["nothing", "empty", "half", "missing", "meta"])
def test_what_cannot_be_read_is_said_to_be_damaged(tmp_path, damage):
    folder = tmp_path / "words"
    if damage != "nothing":
        index = WordIndex(folder, "none", create=True)
        index.replace(records(TEXTS), ())
        index.close()
    for path in folder.glob("*"):
        if damage == "meta" and path.name == "meta.json":
            path.write_text("{")
        elif damage in ("empty", "half", "missing") and path.suffix in (".term", ".idx", ".fast"):
            data = path.read_bytes()
            path.unlink() if damage == "missing" else path.write_bytes(
                data[: len(data) // 2 if damage == "half" else 0]
            )
    with pytest.raises(DamagedError) as caught:
        WordIndex(folder, "none")
    assert str(caught.value).startswith("the index of words cannot be ")
    assert caught.value.unchanged == "the catalog, which holds every document, is untouched"
    assert caught.value.hint == (
        "end every kb process and move the folder 'words' away: the next write builds it again"
    )


def test_the_indexes_of_one_collection_are_removed_but_one(tmp_path):
    for number, language in ((1, "english"), (1, "french"), (11, "english")):
        WordIndex(words_folder(tmp_path, number, language), language, create=True)
    remove_words(tmp_path, 1, but="french")
    assert sorted(path.name for path in (tmp_path / "words").iterdir()) == ["1-french", "11-english"]
    remove_words(tmp_path, 1)
    assert [path.name for path in (tmp_path / "words").iterdir()] == ["11-english"]


def test_faults_A2_what_a_commit_that_was_killed_has_left_is_no_hindrance(tmp_path):
    folder = tmp_path / "words"
    index = WordIndex(folder, "none", create=True)
    index.replace(records({n: f"apple {n}" for n in range(1, 20)}), ())
    index.close()
    before, known = tmp_path / "before", set(folder.iterdir())
    shutil.copytree(folder, before)
    index = WordIndex(folder, "none")
    index.replace(records({3: "pear"}), ["a3"])
    index.close()
    left = [path for path in folder.iterdir() if path not in known and path.suffix == ".del"]
    assert left, "a deletion is a file of its own"
    for path in left:
        shutil.copy(path, before)
    shutil.copy(folder / ".managed.json", before)
    (before / ".tmpAbC").write_text("half of it")
    index = WordIndex(before, "none")
    index.replace(records({3: "plum"}), ["a3"])
    assert found(index, "plum") == [3]
    assert not (before / ".tmpAbC").exists()
    index.close()


def test_an_index_that_failed_once_is_written_to_again(tmp_path):
    index = WordIndex(tmp_path / "words", "none", create=True)

    def broken() -> Iterator[WordRecord]:
        yield from records({1: "apple"})
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError) as caught:
        index.replace(broken(), ())
    index.replace(records({2: "pear"}), ())  # while the error, and with it the writer that failed, is still there
    assert "no more" in str(caught.value)
    assert (found(index, "apple"), found(index, "pear")) == ([], [2])
    index.close()
