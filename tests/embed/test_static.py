"""Static models: a vector for each token, and their mean."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kb
from kb.embed import UNLIMITED, ModelSettings, list_models, open_encoder
from kb.embed import static as static_module
from kb.embed.static import StaticEncoder
from kb.errors import EncoderError, ModelNotFoundError
from tests.embed.conftest import make_tiny_model

WORDS = ("[PAD]", "[UNK]", "the", "cat", "sat", "on", "mat", "harbour", "tide", "##s", "query", "passage", ":", ".")
TEXTS = ["the cat sat on the mat.", "tides", "the harbour : the tide", "zebra", "cat " * 700, "mat"]


def tokeniser():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    made = Tokenizer(models.WordPiece({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # Special tokens that a static model leaves out.
    made.post_processor = processors.TemplateProcessing(single="[PAD] $A", special_tokens=[("[PAD]", 0)])
    made.enable_padding(length=64)
    return made


def table(dimension: int = 24) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(len(WORDS), dimension)).astype(np.float32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    folder = tmp_path_factory.mktemp("static") / "tiny-static"
    modules = [StaticEmbedding(tokeniser(), embedding_weights=table()), Normalize()]
    SentenceTransformer(modules=modules, prompts={"query": "query: "}, device="cpu").save(
        str(folder), create_model_card=False
    )
    return folder


@pytest.fixture
def static(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(saved, tmp_path / "static"))


def reference(folder: Path, texts: list[str], prompt: str = "") -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    found: np.ndarray = model.encode(texts, prompt=prompt or None, normalize_embeddings=True, show_progress_bar=False)
    return found


def refused(folder: Path) -> tuple[str, str]:
    with pytest.raises(ModelNotFoundError) as caught:
        open_encoder(str(folder)).encode_query("cat")
    return str(caught.value).replace(str(folder), "DIR"), caught.value.hint


def test_the_mean_agrees_with_sentence_transformers(static: Path) -> None:
    encoder = open_encoder(str(static))
    assert isinstance(encoder, StaticEncoder)
    assert (encoder.dimension, encoder.window, encoder.reserved) == (24, UNLIMITED, 0)
    assert (encoder.query_prompt, encoder.document_prompt) == ("query: ", "")
    assert np.abs(encoder.encode_documents(TEXTS) - reference(static, TEXTS)).max() < 1e-5
    query = reference(static, ["the cat"], "query: ")[0]
    assert np.abs(encoder.encode_query("the cat") - query).max() < 1e-5
    assert encoder.encode_documents([]).shape == (0, 24)
    encoder.close()
    assert np.abs(encoder.encode_query("the cat") - query).max() < 1e-5


def test_many_texts_are_summed_in_parts(static: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_module, "_SLAB", 4)
    assert np.abs(open_encoder(str(static)).encode_documents(TEXTS) - reference(static, TEXTS)).max() < 1e-5


def test_prompts_of_the_settings_replace_its_own(static: Path) -> None:
    settings = {"s": ModelSettings(path=static, query_prompt="", document_prompt="passage: ")}
    encoder = open_encoder("s", settings)
    assert (encoder.query_prompt, encoder.document_prompt, encoder.reserved) == ("", "passage: ", 2)
    assert np.abs(encoder.encode_documents(["tides"]) - reference(static, ["tides"], "passage: ")).max() < 1e-5


def test_tokens_are_located_without_special_ones(static: Path) -> None:
    encoder = open_encoder(str(static))
    assert list(encoder.token_spans("the tides.")) == [(0, 3), (4, 8), (8, 9), (9, 10)]
    assert encoder.query_tokens("the tides.") == 6


def test_a_tokeniser_that_cuts_is_a_window(static: Path) -> None:
    file = static / "tokenizer.json"
    own = json.loads(file.read_text())
    own["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    file.write_text(json.dumps(own))
    encoder = open_encoder(str(static))
    assert encoder.window == 3
    text = "the cat sat on the mat"
    assert len(encoder.token_spans(text)) == 6
    assert np.abs(encoder.encode_documents([text]) - reference(static, [text])).max() < 1e-5


def test_the_weights_may_lie_one_folder_below(static: Path) -> None:
    inner = static / "0_StaticEmbedding"
    inner.mkdir()
    for name in ("model.safetensors", "tokenizer.json"):
        (static / name).rename(inner / name)
    modules = json.loads((static / "modules.json").read_text())
    modules[0]["path"] = "0_StaticEmbedding"
    (static / "modules.json").write_text(json.dumps(modules))
    found = open_encoder(str(static)).encode_documents(TEXTS)
    assert np.abs(found - reference(static, TEXTS)).max() < 1e-5


@pytest.mark.parametrize("modules", [True, False])
def test_a_folder_of_model2vec_is_one(static: Path, modules: bool) -> None:
    from safetensors.numpy import save_file

    mapping = np.array([0, 1, 2, 3, 4, 5, 5, 3, 2, 1, 0, 1, 2, 3])
    weights = np.linspace(0.5, 2, len(WORDS)).astype(np.float32)
    save_file(
        {"embeddings": table().astype(np.float16)[:6], "mapping": mapping, "weights": weights},
        static / "model.safetensors",
    )
    (static / "config.json").write_text(json.dumps({"model_type": "model2vec", "normalize": True, "hidden_dim": 24}))
    expected = reference(static, TEXTS)
    if not modules:
        (static / "modules.json").unlink()
    # Half precision is folded in half precision there, in single precision here.
    assert np.abs(open_encoder(str(static)).encode_documents(TEXTS) - expected).max() < 2e-3


def test_faults_G9_a_text_without_any_token_has_no_vector(static: Path) -> None:
    encoder = open_encoder(str(static), None)
    with pytest.raises(EncoderError) as caught:
        encoder.encode_documents(["cat", " \t "])
    assert str(caught.value).endswith("has no vector for text 1 of 2: it knows no token of it")
    with pytest.raises(EncoderError, match="not valid Unicode"):
        encoder.encode_documents(["\ud800"])


def test_more_tokens_than_vectors_is_an_error(static: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"embedding.weight": table()[:4]}, static / "model.safetensors")
    with pytest.raises(EncoderError, match="has tokens without a vector"):
        open_encoder(str(static)).encode_documents(["the mat"])


def test_what_kb_does_not_compute_is_refused(static: Path) -> None:
    modules = json.loads((static / "modules.json").read_text())
    modules.append({"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    (static / "modules.json").write_text(json.dumps(modules))
    assert refused(static) == (
        "the static model 'DIR' also needs Dense, which kb does not compute",
        "use a model of StaticEmbedding and Normalize only",
    )


def test_damaged_folders_are_refused(static: Path) -> None:
    whole = (static / "model.safetensors").read_bytes()
    (static / "model.safetensors").write_bytes(whole[:-100])
    assert refused(static)[0].startswith("the weights of model 'DIR' in DIR/model.safetensors cannot be loaded: ")
    for broken in (b"", b"\xff" * 50, whole[:8] + b'{"other":{"shape":[1,2]}}'):
        (static / "model.safetensors").write_bytes(broken)
        assert refused(static)[0] == "model 'DIR': DIR/model.safetensors does not hold the vectors of a static model"
    (static / "model.safetensors").write_bytes(whole)
    (static / "tokenizer.json").write_text('{"truncation": 1}')
    assert refused(static)[0].startswith("model 'DIR': DIR/tokenizer.json cannot be read: ")
    (static / "tokenizer.json").unlink()
    assert refused(static)[0] == "model 'DIR' is incomplete: there is no DIR/tokenizer.json"
    (static / "modules.json").write_text("[1]")
    assert refused(static)[0].startswith("model 'DIR': DIR/modules.json cannot be read: ")


def test_it_is_found_in_the_hub_cache_and_listed(static: Path, tmp_path: Path) -> None:
    base = tmp_path / "hub" / "models--minishlab--tiny"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (base / "snapshots").mkdir(parents=True)
    shutil.copytree(static, base / "snapshots" / commit)
    assert open_encoder("minishlab/tiny").dimension == 24
    info = next(info for info in list_models({"minishlab/tiny": ModelSettings()}) if info.id == "minishlab/tiny")
    assert (info.kind, info.dimension, info.window, info.local, info.verified) == ("static", 24, UNLIMITED, True, None)


def test_importing_and_searching_load_no_torch(static: Path, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.toml").write_text(
        f'[collections.a]\nmodel = "tiny"\n[collections.a.fields]\nbody = "text"\n[models.tiny]\npath = "{static}"\n'
    )
    code = (
        "import sys, kb\n"
        "with kb.open(sys.argv[1]) as base:\n"
        "    a = base.collection('a')\n"
        "    a.upsert(*(a.schema.document({'id': t[:9], 'body': t}, textual=False, separators={}) for t in "
        "('tides', 'the cat', 'cat ' * 700)))\n"
        "    print([(hit.id, hit.score) for hit in a.search('the cat', limit=1, mode='semantic')], base.stats().collections[0].chunks)\n"
        "print(sorted({'torch', 'transformers', 'sentence_transformers', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "base"],
        capture_output=True,
        text=True,
        check=True,
        cwd=kb.__path__[0] + "/..",
    )
    lines = done.stdout.splitlines()
    assert lines[0].startswith("[('the cat', 0.")
    # 700 tokens are three chunks of 256, 32 of them shared.
    assert lines[0].endswith(" 5")
    assert lines[1] == "[]"


def test_a_transformer_is_none(tmp_path: Path) -> None:
    assert not isinstance(open_encoder(str(make_tiny_model(tmp_path / "tiny"))), StaticEncoder)
