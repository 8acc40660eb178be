"""A model behind a server that speaks OpenAI's protocol for embeddings, and what it costs.

There is no tokeniser here, so tokens are estimated, rather too many than too few: a chunk that fits by the estimate
fits the model. Three small letters with a capital before them are one token, so are two capitals, every digit and every
other sign; a sign outside ASCII is as many as its bytes in UTF-8, less one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kb.embed.encoder import FINGERPRINT_SENTENCES, check_vectors
from kb.embed.endpoint import Endpoint
from kb.errors import EncoderError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kb.embed.encoder import Encoder, Vectors
    from kb.embed.endpoint import Pause
    from kb.model_config import ModelSettings

_TOKEN: Final = re.compile(r"[A-Z]?[a-z]{1,3}|[A-Z]{1,2}|[0-9]|[^\sA-Za-z0-9]")
_SPECIALS: Final = 2
# A number of an answer in decimal, with its comma and white space; and all that is around the vectors.
_BYTES_PER_NUMBER: Final = 40
_BYTES_AROUND: Final = 65_536


@dataclass(frozen=True, slots=True)
class Estimate:
    """What embedding would take.

    Attributes:
        tokens: About how many, rather too many.
        dollars: What they cost.
    """

    tokens: int
    dollars: float

    def __str__(self) -> str:
        """Return it as a phrase, e.g. ``about 1.2 million tokens, about $0.02``."""
        tokens = f"{self.tokens / 1e6:,.1f} million" if self.tokens >= 1e6 else f"{self.tokens:,}"
        return f"about {tokens} tokens, " + (f"about ${self.dollars:,.2f}" if self.dollars >= 0.01 else "under $0.01")

    def scaled(self, factor: float) -> Estimate:
        """Return what so many times as much would take."""
        return Estimate(round(self.tokens * factor), self.dollars * factor)


class RemoteEncoder:
    """An ``Encoder`` over a server. Opening it asks nothing; every call is a request or more."""

    def __init__(self, model_id: str, settings: ModelSettings, pause: Pause | None = None) -> None:
        assert settings.server is not None
        self._server = settings.server
        self._endpoint = Endpoint(model_id, settings.server, pause)
        self._fingerprint: Vectors | None = None
        self.model = model_id
        self.dimension = settings.server.dimension
        self.window = settings.server.window
        self.document_prompt = settings.document_prompt or ""
        self.query_prompt = settings.query_prompt or ""
        self.reserved = _count(self.document_prompt) + _SPECIALS
        self.price = settings.server.price_per_million_tokens

    def token_spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Return the (start, end) character offsets of what may be the tokens of ``text``; see the module."""
        spans: list[tuple[int, int]] = []
        for match in _TOKEN.finditer(text):
            spans += [match.span()] * _weight(match[0])
        return spans

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Embed texts that are stored; see ``Encoder``. They are sent in as few requests as the settings allow."""
        return self._encode([self.document_prompt + text for text in texts])

    def encode_query(self, text: str) -> Vectors:
        """Embed one search text; see ``Encoder``."""
        vector: Vectors = self._encode([self.query_prompt + text])[0]
        return vector

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Embed search texts in as few requests as the settings allow; see ``Encoder``."""
        return self._encode([self.query_prompt + text for text in texts])

    def query_tokens(self, text: str) -> int:
        """Estimate the tokens of a query with its prompt."""
        return _count(self.query_prompt + text) + _SPECIALS

    def prepare_queries(self) -> None:
        """Do nothing: queries need no preparation."""

    def fingerprint(self) -> Vectors:
        """Embed the three fixed sentences without any prompt, once; shape (3, dimension)."""
        if self._fingerprint is None:
            self._fingerprint = self._encode(FINGERPRINT_SENTENCES)
        return self._fingerprint.copy()

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._endpoint.close()

    def _encode(self, texts: Sequence[str]) -> Vectors:
        import numpy as np

        out = np.empty((len(texts), self.dimension), dtype=np.float32)
        for start, end, tokens in self._batches(texts):
            out[start:end] = self._asked(texts[start:end], tokens)
        return out

    def _batches(self, texts: Sequence[str]) -> Iterator[tuple[int, int, int]]:
        """Yield where each request starts and ends, and its tokens; a text over a limit is a request of its own."""
        most_tokens = self._server.tokens_per_minute or float("inf")
        start = characters = tokens = 0
        for index, text in enumerate(texts):
            its = _count(text) + _SPECIALS
            full = index - start == self._server.batch_texts
            if index > start and (
                full or characters + len(text) > self._server.batch_characters or tokens + its > most_tokens
            ):
                yield start, index, tokens
                start, characters, tokens = index, 0, 0
            characters += len(text)
            tokens += its
        if start < len(texts):
            yield start, len(texts), tokens

    def _asked(self, texts: Sequence[str], tokens: int) -> Vectors:
        body: dict[str, object] = {"model": self._server.model, "input": list(texts)}
        if self._server.send_dimension:
            body["dimensions"] = self.dimension
        most = len(texts) * self.dimension * _BYTES_PER_NUMBER + _BYTES_AROUND
        answer = self._endpoint.post(body, tokens=tokens, most_bytes=most)
        return check_vectors(self._in_order(answer, len(texts)), len(texts), self.dimension)

    def _in_order(self, answer: Any, count: int) -> list[Any]:
        """Return the vectors of an answer in the order of the texts, each of the length that it must have."""
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
            raise self._nonsense('no list of objects under "data"')
        if len(data) != count:
            raise self._nonsense(f"{len(data)} vectors for {count} texts")
        found = {item.get("index"): item.get("embedding") for item in data if type(item.get("index")) is int}
        if found.keys() != set(range(count)):
            raise self._nonsense(f'vectors whose "index" is not each of 0 to {count - 1} once')
        for index in range(count):
            vector = found[index]
            if not isinstance(vector, list) or not all(type(number) in (int, float) for number in vector):
                raise self._nonsense(f"no list of numbers for text {index} of {count}")
            if len(vector) != self.dimension:
                raise self._nonsense(f"vectors of {len(vector)} dimensions where its settings say {self.dimension}")
        return [found[index] for index in range(count)]

    def _nonsense(self, what: str) -> EncoderError:
        return EncoderError(
            f"the server of the model '{self.model}' answered {what}",
            unchanged="nothing was stored",
            hint=f'compare url, model and dimension in [models."{self.model}"] with what the provider says',
        )


def estimate(encoder: Encoder, texts: Sequence[str]) -> Estimate | None:
    """Return what embedding documents with a model would take; None for a model without a price.

    Args:
        encoder: The model.
        texts: As they would be embedded, without the prompt.
    """
    if not isinstance(encoder, RemoteEncoder) or encoder.price is None:
        return None
    tokens = sum(_count(text) + encoder.reserved for text in texts)
    return Estimate(tokens, tokens * encoder.price / 1e6)


def _count(text: str) -> int:
    # Far cheaper than asking each sign.
    if text.isascii():
        return sum(1 for _ in _TOKEN.finditer(text))
    return sum(_weight(token) for token in _TOKEN.findall(text))


def _weight(token: str) -> int:
    return 1 if token.isascii() else max(1, len(token.encode("utf-8", "surrogatepass")) - 1)
