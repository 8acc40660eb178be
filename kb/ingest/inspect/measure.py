"""Counting texts that are longer than a model's window, with its own tokeniser and without loading it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kb.embed import open_encoder
from kb.errors import KBError
from kb.ingest.inspect.inspection import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kb.model_config import ModelSettings

MAX_TOKENISED: Final = 20_000
"""How many long texts of one column are tokenised: a third of a millisecond each, so that a huge file is not hours."""


@dataclass(frozen=True, slots=True)
class Ruler:
    """A model's window and its tokeniser.

    Attributes:
        window: What to tell about the model.
        room: Most tokens of a text itself; 0 when the model is not here.
        spans: Gives the offsets of the tokens of a text; None when the model is not here.
    """

    window: Window
    room: int
    spans: Callable[[str], Sequence[tuple[int, int]]] | None


def ruler_of(model: str, settings: Mapping[str, ModelSettings]) -> Ruler:
    """Return the ruler of a model on this machine; nothing is downloaded.

    Args:
        model: Its id.
        settings: ``[models]`` of the configuration.
    """
    try:
        encoder = open_encoder(model, settings, download=False)
    except KBError as error:
        return Ruler(Window(model, 0, f"{error}; {error.hint}" if error.hint else str(error)), 0, None)
    return Ruler(Window(encoder.model, encoder.window, None), encoder.window - encoder.reserved, encoder.token_spans)


class Lengths:
    """How many values of one column are longer than the window.

    Attributes:
        measured: How many values were looked at.
        over: How many of them are longer.
    """

    def __init__(self, ruler: Ruler) -> None:
        self.measured = 0
        self.over = 0
        self._ruler = ruler
        self._left = MAX_TOKENISED

    def add(self, text: str, count: int) -> None:
        """Measure a value that stands ``count`` times."""
        if self._ruler.spans is None or not self._left:
            return
        # One token for one ASCII character is the most that any tokeniser makes, as in kb.chunks.
        if not (text.isascii() and len(text) < self._ruler.room):
            self._left -= 1
            self.over += count * (len(self._ruler.spans(text)) > self._ruler.room)
        self.measured += count
