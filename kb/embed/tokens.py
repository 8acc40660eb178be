"""A model's own tokeniser, without torch and without transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kb.errors import EncoderError, ModelNotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tokenizers import Tokenizer

    from kb.embed.folder import ModelFolder


def read_tokenizer(file: Path, model_id: str) -> Tokenizer:
    """Return the tokeniser of a ``tokenizer.json``, as whoever saved it has set it.

    Raises:
        ModelNotFoundError: The file cannot be read.
    """
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(file))
    # The library raises the bare class, and says what is wrong only in the message.
    except Exception as error:
        raise ModelNotFoundError(f"model '{model_id}': {file} cannot be read: {error}") from error


class Tokeniser:
    """Counts, locates and numbers the tokens of texts. Safe to use from several threads.

    Attributes:
        specials: Special tokens that one input gets.
    """

    def __init__(self, folder: ModelFolder, model_id: str) -> None:
        from tokenizers import Tokenizer, normalizers

        self._whole = read_tokenizer(folder.path / "tokenizer.json", model_id)
        if folder.lower_case:
            own = self._whole.normalizer
            self._whole.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([own] if own else [])])
        # The file may carry the settings of whoever saved it: all-MiniLM-L6-v2 pads to and cuts at 128.
        self._whole.no_padding()
        self._whole.no_truncation()
        self._cut = Tokenizer.from_str(self._whole.to_str())
        self._cut.enable_truncation(folder.window)
        self.specials = int(self._whole.num_special_tokens_to_add(is_pair=False))

    def spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Return the (start, end) character offsets of the tokens of ``text``, uncut, without special tokens."""
        try:
            spans: Sequence[tuple[int, int]] = self._whole.encode(text, add_special_tokens=False).offsets
        except (TypeError, UnicodeEncodeError) as error:
            raise EncoderError(f"a text is not valid Unicode: {error}") from error
        return spans

    def count(self, text: str) -> int:
        """Count the tokens of ``text`` with special tokens, uncut."""
        return len(self.spans(text)) + self.specials

    def numbers(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, with special tokens, cut to the model's window."""
        try:
            return [encoding.ids for encoding in self._cut.encode_batch_fast(list(texts))]
        except (TypeError, UnicodeEncodeError) as error:
            raise EncoderError(f"one of {len(texts)} texts is not valid Unicode: {error}") from error
