"""The built-in model: deterministic, lexical, without weights."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kb.embed import HashingEncoder, check_vectors, open_encoder, same_fingerprint

ENCODER = HashingEncoder()
EXPECTED = {26: -0.4588, 49: 0.2294, 86: 0.4588, 166: 0.2294, 187: -0.2294, 204: 0.4588, 236: 0.4588}


def cosine(a: str, b: str) -> float:
    return float(ENCODER.encode_query(a) @ ENCODER.encode_query(b))


@given(st.lists(st.text(st.characters(exclude_categories=()), max_size=60), max_size=20))
def test_every_text_gets_a_unit_vector_of_its_own_row(texts: list[str]) -> None:
    vectors = ENCODER.encode_documents(texts)
    assert vectors.shape == (len(texts), 256)
    assert vectors.dtype == np.float32
    check_vectors(vectors, len(texts), 256)
    for text, vector in zip(texts, vectors, strict=True):
        assert np.array_equal(vector, HashingEncoder().encode_query(text))


def test_vectors_are_the_same_on_every_machine() -> None:
    vector = ENCODER.encode_query("The quick brown fox")
    assert {int(index): round(float(vector[index]), 4) for index in np.flatnonzero(vector)} == EXPECTED


def test_texts_with_common_words_are_closer() -> None:
    assert cosine("how to tie a bowline knot", "tie the bowline knot") > 0.5
    assert abs(cosine("how to tie a bowline knot", "interest rates rose sharply")) < 0.3


def test_the_order_of_words_matters() -> None:
    assert 0.5 < cosine("dog bites man", "man bites dog") < 0.99


def test_case_does_not_matter() -> None:
    assert cosine("Harbour WALL", "harbour wall") == pytest.approx(1.0)


@pytest.mark.parametrize("text", ["", " \n", "?!…", "👍"])
def test_a_text_without_words_gets_the_fixed_vector(text: str) -> None:
    assert ENCODER.encode_query(text)[0] == 1.0


def test_long_lists_come_back_in_order() -> None:
    texts = [f"text number {number}" for number in range(20_000)]
    vectors = ENCODER.encode_documents(texts)
    for index in (0, 8_191, 8_192, 19_999):
        assert np.array_equal(vectors[index], ENCODER.encode_query(texts[index]))


def test_tokens_are_words_and_signs() -> None:
    assert ENCODER.token_spans("Ab, c!") == [(0, 2), (2, 3), (4, 5), (5, 6)]
    assert ENCODER.query_tokens("Ab, c!") == 4


def test_the_fingerprint_is_its_own() -> None:
    assert same_fingerprint(ENCODER.fingerprint(), open_encoder("hashing-256").fingerprint()) == pytest.approx(1.0)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, kb.embed; kb.embed.list_models()\n"
        "print([name for name in ('numpy', 'torch', 'transformers', 'tokenizers', 'onnxruntime', 'huggingface_hub') "
        "if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
