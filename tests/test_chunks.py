"""Chunks partition the text, fit the model, and end where a reader would end them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kb.chunks import Chunk, Chunking, split
from kb.errors import SchemaError

if TYPE_CHECKING:
    from collections.abc import Sequence

SMALL = Chunking(tokens=16, overlap=4)
RESERVED = 2


def words(text: str) -> Sequence[tuple[int, int]]:
    """One token per word or sign; white space and zero-width characters belong to none."""
    return [match.span() for match in re.finditer(r"\w+|[^\w\s\u200b-\u200d]", text)]


def pieces(text: str) -> Sequence[tuple[int, int]]:
    """Up to three characters per token, counted from where the text starts: cutting elsewhere changes them."""
    return [match.span() for match in re.finditer(r"(?s).{1,3}", text)]


def several(text: str) -> Sequence[tuple[int, int]]:
    """Three tokens for every character outside ASCII, all with the same offsets, as byte-level tokenisers give."""
    spans = []
    for index, sign in enumerate(text):
        if not sign.isspace():
            spans += [(index, index + 1)] * (1 if sign.isascii() else 3)
    return spans


TOKENISERS = [words, pieces, several]
texts = st.one_of(
    st.text(max_size=400),
    st.lists(
        st.sampled_from(
            ["word ", "Word. ", "\n\n", "\n", "   ", "é", "e\u0301", "\u200b", "👩\u200d👩\u200d👧", "x" * 60, "漢字。"]
        ),
        max_size=120,
    ).map("".join),
)
settings = st.integers(16, 40).flatmap(
    lambda tokens: st.integers(0, tokens // 2 - 2).map(lambda overlap: Chunking(tokens, overlap))
)


def check(text: str, chunks: list[Chunk]) -> None:
    assert "".join(chunk.text for chunk in chunks) == text
    for index, chunk in enumerate(chunks):
        assert chunk.ordinal == index
        assert text[chunk.start : chunk.end] == chunk.text != ""


@given(texts, settings, st.sampled_from(TOKENISERS))
def test_chunks_partition_the_text_and_fit_the_model(text: str, chunking: Chunking, spans: object) -> None:
    assert callable(spans)
    chunks = split(text, chunking, spans=spans, reserved=RESERVED)
    check(text, chunks)
    assert all(len(spans(chunk.embed_text)) + RESERVED <= chunking.tokens for chunk in chunks)


@given(texts, settings)
def test_the_model_reads_the_end_of_the_chunk_before_then_the_chunk(text: str, chunking: Chunking) -> None:
    before = ""
    for chunk in split(text, chunking, spans=words, reserved=RESERVED):
        assert chunk.text.rstrip() in chunk.embed_text
        tail = chunk.embed_text.rstrip().removesuffix(chunk.text.rstrip())
        assert before.endswith(tail)
        assert len(words(tail)) <= chunking.overlap
        before = chunk.text


def test_a_text_that_fits_is_one_chunk_as_it_is() -> None:
    text = "  Kurz und gut, mit Ä.\n\n Zwei Absätze.\n "
    assert split(text, Chunking(), spans=words, reserved=2) == [Chunk(0, 0, len(text), text, text)]


def test_no_text_has_no_chunks() -> None:
    assert split("", Chunking(), spans=words, reserved=2) == []


def test_white_space_alone_is_one_chunk() -> None:
    text = " \n" * 5_000
    assert [chunk.text for chunk in split(text, SMALL, spans=words, reserved=2)] == [text]


def test_short_ascii_is_not_tokenised() -> None:
    def never(text: str) -> Sequence[tuple[int, int]]:
        raise AssertionError(text)

    assert len(split("a" * 200, Chunking(), spans=never, reserved=2)) == 1


def test_a_chunk_ends_on_a_paragraph_when_half_full() -> None:
    text = "One two. three four five six seven.\n\nEight nine. Ten eleven twelve thirteen. Fourteen."
    assert split(text, SMALL, spans=words, reserved=2)[0].text.endswith("seven.\n\n")


def test_a_chunk_ends_on_a_sentence_when_the_paragraph_is_too_early() -> None:
    text = "Title\n\nOne two three, e.g. four five six. Seven eight nine ten eleven twelve thirteen fourteen."
    assert split(text, SMALL, spans=words, reserved=2)[0].text == "Title\n\nOne two three, e.g. four five six. "


def test_a_chunk_without_sentences_ends_at_white_space() -> None:
    text = " ".join(f"word{number}" for number in range(40))
    chunks = split(text, SMALL, spans=words, reserved=2)
    assert all(chunk.text.endswith(" ") for chunk in chunks[:-1])
    assert len(chunks) == 4
    assert chunks[1].embed_text.startswith("word10 word11 word12 word13 word14 ")


def test_white_space_stays_with_the_chunk_before_it() -> None:
    text = ("a b c d e f g h i j k l m n" + " \n\t" * 50) * 3
    chunks = split(text, SMALL, spans=words, reserved=2)
    assert not any(chunk.text[0].isspace() for chunk in chunks)


def test_a_hard_cut_parts_neither_accents_nor_emoji_sequences() -> None:
    family = "👩\u200d👩\u200d👧"
    text = ("e\u0301" * 5 + family) * 60
    chunks = split(text, SMALL, spans=pieces, reserved=2)
    check(text, chunks)
    for chunk in chunks:
        assert chunk.text[0] not in {"\u0301", "\u200d"}
        assert not chunk.text.endswith("\u200d")


def test_a_tokeniser_that_gives_up_on_long_words_does_not_make_one_endless_chunk() -> None:
    text = "x" * 100_000
    chunks = split(text, Chunking(), spans=words, reserved=2)
    check(text, chunks)
    assert max(len(chunk.text) for chunk in chunks) <= 64 * 256


@pytest.mark.parametrize("position", [0, 10, 50, 89, 90, 95, 99])
def test_faults_F13_every_part_of_a_long_text_is_in_a_chunk_that_the_model_reads(position: int) -> None:
    sentences = [f"Sentence number {number} is about nothing in particular, really." for number in range(100)]
    sentences[position] = "The needle lies under the harbour wall."
    chunks = split("\n".join(sentences), Chunking(64, 8), spans=words, reserved=2)
    assert any("The needle lies under the harbour wall." in chunk.embed_text for chunk in chunks)


@pytest.mark.parametrize(
    "text",
    [
        "The cat sat on the mat. It slept.\n\n" * 28_000,
        "x" * 1_000_000,
        "." * 200_000,
        "a" + " " * 1_000_000 + "b",
        "漢字かな" * 50_000,
    ],
    ids=["prose", "one word", "signs", "spaces", "no spaces"],
)
def test_faults_F12_a_large_text_is_tokenised_a_fixed_number_of_times(text: str) -> None:
    read = 0

    def counting(part: str) -> Sequence[tuple[int, int]]:
        nonlocal read
        read += len(part)
        return words(part)

    check(text, split(text, Chunking(), spans=counting, reserved=2))
    assert read <= 4 * len(text)


@pytest.mark.parametrize(
    ("tokens", "overlap", "message"),
    [
        (15, 0, "chunk tokens = 15 is too few"),
        (16, 9, "chunk overlap = 9 is out of range"),
        (16, -1, "chunk overlap = -1 is out of range"),
    ],
)
def test_settings_out_of_range_are_refused(tokens: int, overlap: int, message: str) -> None:
    with pytest.raises(SchemaError, match=f"^{message}$"):
        Chunking(tokens, overlap)


def test_a_prompt_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(SchemaError, match="no room for text: 13 are reserved for the model, 4 for overlap"):
        split("text", SMALL, spans=words, reserved=13)
