"""The recipe: everything that decides a vector, and its hashes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass


def content_hash(*parts: str) -> bytes:
    """Return 16 bytes that identify the strings, their number and their order."""
    encoded = [part.encode() for part in parts]
    data = b"".join([piece for one in encoded for piece in (len(one).to_bytes(8, "little"), one)])
    return hashlib.blake2b(data, digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a document becomes vectors.

    Attributes:
        template: The text template as declared.
        chunk_tokens: The most tokens of one embedded text, special tokens included.
        chunk_overlap: How many tokens of the previous chunk are embedded before a chunk.
        model: The model id.
        document_prompt: What the model wants before a document.
        query_prompt: What the model wants before a query.
        weights: Tells models of one id apart: 0 for the first that the catalog has met, 1 for other weights under the
            same id, and so on.
        query_model: The id of the model that embeds queries; empty where ``model`` does.
    """

    template: str
    chunk_tokens: int
    chunk_overlap: int
    model: str
    document_prompt: str = ""
    query_prompt: str = ""
    weights: int = 0
    query_model: str = ""

    @property
    def hash(self) -> str:
        """32 hexadecimal digits that identify the whole recipe."""
        return content_hash(self.to_json()).hex()

    @property
    def space(self) -> str:
        """32 hexadecimal digits of what a vector depends on once its text is given: the weights and the prompt."""
        return content_hash(self.model, self.document_prompt, str(self.weights)).hex()

    def to_json(self) -> str:
        """Return the recipe as canonical JSON; a part that came later is left out where it is empty."""
        parts = asdict(self)
        if not self.query_model:
            del parts["query_model"]
        return json.dumps(parts, ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Return the recipe that ``to_json`` wrote."""
        return cls(**json.loads(text))
