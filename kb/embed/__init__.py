"""Embedding models: which there are, where their weights are, and how texts become vectors.

The only importer of sentence_transformers, torch, onnxruntime, tokenizers and huggingface_hub, each inside the
function that needs it: importing this package loads none of them.
"""

from __future__ import annotations

from kb.embed.encoder import (
    FINGERPRINT_AGREEMENT,
    FINGERPRINT_SENTENCES,
    Encoder,
    check_vectors,
    same_fingerprint,
)
from kb.embed.folder import UNLIMITED
from kb.embed.hashing import HashingEncoder
from kb.embed.known import canonical_id
from kb.embed.models import (
    KNOWN_MODELS,
    KnownModel,
    ModelInfo,
    ModelSettings,
    ResolvedModel,
    least_agreement,
    list_models,
    open_encoder,
    resolve,
)
from kb.embed.remote import Estimate, estimate
from kb.embed.reranker import Reranker, open_reranker

__all__ = [
    "FINGERPRINT_AGREEMENT",
    "FINGERPRINT_SENTENCES",
    "KNOWN_MODELS",
    "UNLIMITED",
    "Encoder",
    "Estimate",
    "HashingEncoder",
    "KnownModel",
    "ModelInfo",
    "ModelSettings",
    "Reranker",
    "ResolvedModel",
    "canonical_id",
    "check_vectors",
    "estimate",
    "least_agreement",
    "list_models",
    "open_encoder",
    "open_reranker",
    "resolve",
    "same_fingerprint",
]
