"""Embedding models: which there are, where their weights are, and how texts become vectors.

The only importer of sentence_transformers, torch, onnxruntime, tokenizers and huggingface_hub, each inside the
function that needs it: importing this package loads none of them.
"""

from __future__ import annotations

from kb.embed.encoder import FINGERPRINT_AGREEMENT, Encoder, check_vectors, same_fingerprint
from kb.embed.hashing import HashingEncoder
from kb.embed.models import (
    KNOWN_MODELS,
    KnownModel,
    ModelInfo,
    ModelSettings,
    ResolvedModel,
    list_models,
    open_encoder,
    resolve,
)

__all__ = [
    "FINGERPRINT_AGREEMENT",
    "KNOWN_MODELS",
    "Encoder",
    "HashingEncoder",
    "KnownModel",
    "ModelInfo",
    "ModelSettings",
    "ResolvedModel",
    "check_vectors",
    "list_models",
    "open_encoder",
    "resolve",
    "same_fingerprint",
]
