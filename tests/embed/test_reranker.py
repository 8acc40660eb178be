"""Rerankers: a query and a text are read together."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kb.embed import ModelSettings, open_encoder, open_reranker
from kb.errors import EncoderError, ModelNotFoundError
from tests.embed.conftest import make_tiny_model

TEXTS = ["the cat sat on the mat.", "harbour", "the cat " * 40, ""]


def make_reranker(path: Path, *, labels: int = 1) -> Path:
    """Save a BERT with a head for pairs of texts, with random weights."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from kb.embed.bulk import quiet

    make_tiny_model(path.parent / f"{path.name}-vectors")
    bare = path.parent / f"{path.name}-vectors-bare"
    config = BertConfig.from_pretrained(bare)
    config.num_labels = labels
    torch.manual_seed(7)
    with quiet():
        BertForSequenceClassification(config).save_pretrained(path)
        AutoTokenizer.from_pretrained(bare).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_reranker(tmp_path_factory.mktemp("rerankers") / "tiny")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "reranker"))


def test_scores_are_the_models_own_without_an_activation(folder: Path) -> None:
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), device="cpu", local_files_only=True)
    pressed = model.predict([("the cat", text) for text in TEXTS], show_progress_bar=False)
    reranker = open_reranker(str(folder))
    scores = reranker.score("the cat", TEXTS)
    assert (scores.shape, scores.dtype) == ((4,), np.float32)
    assert np.allclose(1 / (1 + np.exp(-scores)), pressed, atol=1e-6)
    assert np.allclose(reranker.score("the cat", TEXTS[::-1]), scores[::-1], atol=1e-5)
    assert reranker.model == str(folder)
    reranker.close()
    assert np.allclose(reranker.score("the cat", TEXTS), scores, atol=1e-6)


def test_no_texts_have_no_scores_and_load_nothing(folder: Path) -> None:
    code = (
        "import sys; from kb.embed import open_reranker\n"
        "print(open_reranker(sys.argv[1]).score('a', []).shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert done.stdout == "(0,) False\n"


def test_it_is_resolved_like_other_models(folder: Path, tmp_path: Path) -> None:
    assert open_reranker("mine", {"mine": ModelSettings(path=folder)}).model == "mine"
    base = tmp_path / "hub" / "models--cross-encoder--tiny" / "snapshots"
    base.mkdir(parents=True)
    shutil.copytree(folder, base / ("0" * 40))
    assert open_reranker("cross-encoder/tiny").score("the cat", ["harbour"]).shape == (1,)
    with pytest.raises(ModelNotFoundError, match=r"^the model 'cross-encoder/gone' is not on this machine$"):
        open_reranker("cross-encoder/gone", download=False)


@pytest.mark.parametrize("which", ["hashing-256", "vectors", "two labels"])
def test_a_model_that_is_no_reranker_is_refused(made: Path, tmp_path: Path, which: str) -> None:
    model = which
    if which == "vectors":
        model = str(made.parent / "tiny-vectors")
    if which == "two labels":
        model = str(make_reranker(tmp_path / "two", labels=2))
    gives = "2 labels" if which == "two labels" else "vectors"
    with pytest.raises(ModelNotFoundError) as caught:
        open_reranker(model)
    assert str(caught.value) == f"the model '{model}' is no reranker: it gives {gives}"
    assert caught.value.hint == "name a cross-encoder with one label, such as cross-encoder/ms-marco-MiniLM-L6-v2"


def test_an_unknown_name_is_answered_with_a_reranker() -> None:
    with pytest.raises(ModelNotFoundError, match="^there is no model 'all-MiniLM-L7'$") as caught:
        open_reranker("all-MiniLM-L7")
    assert caught.value.hint == "name a cross-encoder with one label, such as cross-encoder/ms-marco-MiniLM-L6-v2"


def test_a_reranker_makes_no_vectors(folder: Path) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        open_encoder(str(folder))
    assert str(caught.value) == f"the model '{folder}' gives labels, not vectors"


def test_damaged_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelNotFoundError, match=r"^the weights of the reranker '.*' in .* cannot be loaded: "):
        open_reranker(str(folder)).score("a", ["b"])


def test_only_pickled_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelNotFoundError, match="only pickled weights"):
        open_reranker(str(folder))


def test_code_in_the_folder_is_not_run(folder: Path) -> None:
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForSequenceClassification": "evil.Evil", "AutoConfig": "evil.Evil"}
    (folder / "config.json").write_text(json.dumps(config))
    assert open_reranker(str(folder)).score("the cat", ["harbour"]).shape == (1,)


def test_an_answer_that_is_no_number_is_refused(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"] = np.array([np.nan], dtype=np.float32)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(EncoderError) as caught:
        open_reranker(str(folder)).score("a", ["b", "c"])
    assert str(caught.value) == (f"the reranker '{folder}' did not answer one finite number for each of 2 texts")
