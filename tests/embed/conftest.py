"""Models small enough to make in a test: real files, random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

_SIGNS = "abcdefghijklmnopqrstuvwxyz0123456789"
_VOCABULARY = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "query", "passage", "the", "cat", "sat", "on", "mat", "harbour"),
    *(":", ".", ",", "?", "!", "(", ")", "[", "]", "-"),
    *_SIGNS,
    *(f"##{sign}" for sign in _SIGNS),
]


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the user's caches and the network out of every test."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("KB_CACHE", str(cache))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return cache


def make_tiny_model(path: Path, *, seed: int = 0, prompts: dict[str, str] | None = None) -> Path:
    """Save a BERT of two layers, 32 dimensions and a window of 48 tokens, with random weights."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    from kb.embed.bulk import quiet

    tokens = Tokenizer(models.WordPiece({word: index for index, word in enumerate(_VOCABULARY)}, unk_token="[UNK]"))
    tokens.normalizer = normalizers.BertNormalizer()
    tokens.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokens.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {
        name: f"[{name[:-6].upper()}]" for name in ("unk_token", "pad_token", "cls_token", "sep_token", "mask_token")
    }
    bare = path.parent / f"{path.name}-bare"
    config = BertConfig(
        vocab_size=len(_VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        # Large enough that different texts get clearly different vectors.
        initializer_range=0.3,
    )
    torch.manual_seed(seed)
    with quiet():
        fast = PreTrainedTokenizerFast(tokenizer_object=tokens, model_max_length=64, **names)
        fast.save_pretrained(bare)
        BertModel(config).save_pretrained(bare)
        transformer = Transformer(str(bare), max_seq_length=48)
        modules = [transformer, Pooling(32), Normalize()]
        SentenceTransformer(modules=modules, prompts=prompts, device="cpu").save(str(path), create_model_card=False)
    return path


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return three models of equal shape: ``plain``, ``other`` with other weights, ``prompted`` with prompts."""
    pytest.importorskip("sentence_transformers")
    folder = tmp_path_factory.mktemp("models")
    prompts = {"query": "query: ", "passage": "passage: "}
    return {
        "plain": make_tiny_model(folder / "plain"),
        "other": make_tiny_model(folder / "other", seed=1),
        "prompted": make_tiny_model(folder / "prompted", prompts=prompts),
    }
