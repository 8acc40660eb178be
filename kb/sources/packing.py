"""gzip and zstd: told by their first bytes, unpacked as a stream that says so when it breaks off or never ends."""

from __future__ import annotations

import gzip
import io
import zlib
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from kb.errors import LimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _typeshed import WriteableBuffer

    from kb.errors import KBError

MAGIC_BYTES: Final = 4
_BLOCK: Final = 256 * 1024
# A kilobyte of zstd makes 32 MB at most.
_ZSTD_BLOCK: Final = 1024
_ZSTD_WINDOW: Final = 128 * 1024 * 1024  # what the zstd command accepts without --long
_FREE_BYTES: Final = 256 * 1024 * 1024
_MOST_RATIO: Final = 400


class Packing(StrEnum):
    """How an input is compressed; the value is its name in messages, the suffix is that of files."""

    GZIP = "gzip"
    ZSTD = "zstd"

    @property
    def suffix(self) -> str:
        """What the names of such files end with."""
        return ".gz" if self is Packing.GZIP else ".zst"


def packing_of(start: bytes) -> Packing | None:
    """Return how an input with these first bytes is compressed, or None."""
    if start.startswith(b"\x1f\x8b"):
        return Packing.GZIP
    return Packing.ZSTD if start.startswith(b"\x28\xb5\x2f\xfd") else None


class Unpacked(io.RawIOBase):
    """The bytes inside a compressed stream.

    Args:
        stream: The compressed bytes from the first on.
        packing: How they are compressed.
        name: Of the input, for messages.
        position: Returns how many compressed bytes have been read.
        broken: Makes the error for data that cannot be unpacked, from the reason.

    Raises:
        LimitError: While reading: it unpacks to more than 256 MB and more than 400 times its own size.
    """

    def __init__(
        self,
        stream: io.BufferedReader,
        packing: Packing,
        *,
        name: str,
        position: Callable[[], int],
        broken: Callable[[str], KBError],
    ) -> None:
        self._stream = stream
        self._packing = packing
        self._name = name
        self._position = position
        self._broken = broken
        self._size = 0
        self._held = memoryview(b"")
        self._blocks = _gzip_blocks(stream) if packing is Packing.GZIP else _zstd_blocks(stream)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer; return how many bytes there were, 0 at the end."""
        target = memoryview(buffer).cast("B")
        if not self._held:
            self._held = memoryview(self._next())
        count = min(len(target), len(self._held))
        target[:count] = self._held[:count]
        self._held = self._held[count:]
        return count

    def close(self) -> None:
        """Close the compressed stream, too."""
        self._stream.close()
        super().close()

    def _next(self) -> bytes:
        try:
            block = next(self._blocks, b"")
        except EOFError:
            raise self._broken(f"its {self._packing} data breaks off") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise self._broken(f"its {self._packing} data is damaged: {error}") from None
        self._size += len(block)
        if self._size > max(_FREE_BYTES, _MOST_RATIO * self._position()):
            raise LimitError(
                f"{self._name} unpacks to more than {_MOST_RATIO} times its size",
                unchanged="rows that were committed before stay",
                hint=f"if that is meant, unpack it first: {'gunzip' if self._packing is Packing.GZIP else 'unzstd'}",
            )
        return block


def _gzip_blocks(stream: io.BufferedReader) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=stream, mode="rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _zstd_blocks(stream: io.BufferedReader) -> Iterator[bytes]:
    # stream_reader() would take a frame that breaks off for one that ends.
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    frame = None
    packed = b""
    while packed := packed or stream.read(_ZSTD_BLOCK):
        frame = frame or decompressor.decompressobj()
        try:
            block = frame.decompress(packed)
        except zstandard.ZstdError as error:
            raise zlib.error(str(error)) from None
        if block:
            yield block
        packed = b""
        if frame.eof:
            packed, frame = frame.unused_data, None
    if frame is not None:
        raise EOFError
