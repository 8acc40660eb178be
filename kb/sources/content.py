"""What an input is made of, from its first megabyte: the wrong kind of file, the wrong encoding."""

from __future__ import annotations

import codecs
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kb.errors import SourceError, UsageError
from kb.sources.input import source_error
from kb.sources.lines import LINE_BREAK, encoded_size, escaped_byte, first_escaped, spelled
from kb.sources.source import Format

if TYPE_CHECKING:
    from kb.sources.input import Input

_MAGIC: Final = (
    (rb"\x1f\x8b", "gzip-compressed twice", "unpack it once: gunzip", None),
    (rb"\x28\xb5\x2f\xfd", "zstd-compressed twice", "unpack it once: unzstd", None),
    (rb"BZh\d1AY&SY", "bzip2-compressed", "unpack it first: bunzip2", None),
    (rb"\xfd7zXZ\x00", "xz-compressed", "unpack it first: unxz", None),
    (rb"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it first", None),
    (rb"PK\x03\x04(?=.*xl/)", "an Excel workbook (xlsx)", "add --input excel", Format.EXCEL),
    (rb"PK\x03\x04(?=.*word/)", "a Word document (docx)", "export its table as CSV", None),
    (rb"PK\x03\x04.{26}mimetypeapplication/vnd\.oasis", "an OpenDocument file", "export the sheet as CSV", None),
    (rb"PK[\x03\x05]", "a zip archive", "unpack it first: unzip", None),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Word file (xls, doc)", "save it as xlsx or CSV", None),
    (rb"%PDF-", "a PDF", "export its text or table first", None),
    (rb"SQLite format 3\x00", "an SQLite database", "add --input sqlite, and a query with --sql", Format.SQLITE),
    (rb"PAR1[\x00-\x1f]", "a Parquet file", "add --input parquet", Format.PARQUET),
    (rb"ARROW1\x00\x00", "an Arrow file", "read it with pyarrow and import the table", None),
    (rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a", "an image", "", None),
)
_MARKUP: Final = (
    (r"\s*<(?:!doctype\s+html|html|head|body|table)[\s>]", "an HTML page", "save the data itself, not the page"),
    (r"\s*<\?xml\s", "an XML document", "convert it to CSV or JSON first"),
)
CALLED: Final = {
    Format.CSV: "CSV",
    Format.TSV: "TSV",
    Format.JSON: "JSON",
    Format.JSONL: "JSON Lines",
    Format.PARQUET: "Parquet",
    Format.EXCEL: "an Excel workbook",
    Format.SQLITE: "an SQLite database",
    Format.MARKDOWN: "Markdown",
}
"""Formats as messages call them."""
_STARTS: Final = {Format.PARQUET: b"PAR1", Format.EXCEL: b"PK", Format.SQLITE: b"SQLite format 3\0"}
_JSON: Final = re.compile(r"\s*(\{\s*[\"}]|\[\s*[\[{\]])")
_BOMS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_JAPANESE: Final = ("shift_jis", "cp932", "euc_jp")


@dataclass(frozen=True, slots=True)
class Content:
    """The beginning of an input as text.

    Attributes:
        encoding: The codec; ``utf-8-sig`` for UTF-8 with a byte order mark.
        text: The first megabyte, decoded with ``surrogateescape``.
        complete: Whether that is all of it.
    """

    encoding: str
    text: str
    complete: bool


def inspect(opened: Input, format: Format, encoding: str | None) -> Content:
    """Return the beginning as text after checking that it can be what it is said to be.

    Args:
        opened: The input.
        format: What it is to be read as.
        encoding: What the caller said, or None for UTF-8; never guessed.

    Raises:
        SourceError: It is something else, or in another encoding.
        UsageError: There is no such encoding.
    """
    if error := kind_error(opened, format):
        raise error
    codec = codec_name(encoding)
    if codec == "utf-8":
        _check_utf16(opened)
        if opened.head.startswith(codecs.BOM_UTF8):
            codec = "utf-8-sig"
    content = _decode(opened, codec)
    _check_share(opened, content)
    for markup, what, hint in _MARKUP:
        if re.match(markup, content.text, re.IGNORECASE):
            raise source_error(f"{opened.name} is {what}, not {CALLED[format]}", hint)
    if format in (Format.CSV, Format.TSV) and (found := _JSON.match(content.text)):
        shape = "json" if found[1].startswith("[") else "jsonl"
        raise source_error(f"{opened.name} is JSON, not {CALLED[format]}", f"add --input {shape}")
    return content


def check_kind(opened: Input, format: Format) -> None:
    """Raise ``SourceError`` when an input does not begin as a file of a binary format does."""
    if not opened.head:
        raise source_error(f"{opened.name} is empty (0 bytes), not {CALLED[format]}")
    if error := kind_error(opened, format):
        raise error
    if not opened.head.startswith(_STARTS[format]):
        raise source_error(f"{opened.name} is not {CALLED[format]}", "name its format with --input")


def kind_error(opened: Input, format: Format | None = None) -> SourceError | None:
    """Return the error that says what an input is by its first bytes, when that is not ``format``; else None."""
    for magic, what, hint, its_format in _MAGIC:
        if re.match(magic, opened.head, re.DOTALL):
            if its_format is not None and its_format is format:
                return None
            rest = "" if format is None else f", not {CALLED[format]}"
            return source_error(f"{opened.name} is {what}{rest}", hint)
    return None


def encoding_error(opened: Input, content: Content) -> SourceError:
    """Return the error that names the first byte of ``content`` that cannot be decoded and suggests an encoding."""
    at = first_escaped(content.text) or 0
    before = content.text[:at]
    line = len(LINE_BREAK.findall(before)) + 1
    bom = len(codecs.BOM_UTF8) if content.encoding == "utf-8-sig" else 0
    offset = encoded_size(before, content.encoding) + bom + 1
    byte = escaped_byte(content.text[at])
    return source_error(
        f"{opened.name} is not {spelled(content.encoding)}: line {line}, byte {offset:,} of the file is {byte}",
        _suggestion(opened.head, offset - 1, content.encoding),
    )


def codec_name(encoding: str | None) -> str:
    """Return the name of the codec that is meant; UTF-8 for None.

    Raises:
        UsageError: There is no such encoding of text.
    """
    if encoding is None:
        return "utf-8"
    try:
        "a".encode(encoding)  # refuses codecs such as base64, which are not encodings of text
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError):
        raise UsageError(f"there is no encoding '{encoding}'", hint="e.g. utf-8, utf-16, cp1252, shift_jis") from None
    return "utf-8" if name == "utf-8-sig" else name


def _decode(opened: Input, codec: str) -> Content:
    try:
        decoder = codecs.getincrementaldecoder(codec)("surrogateescape")
        text = decoder.decode(opened.head, final=opened.head_is_all)
    except UnicodeError as error:
        raise source_error(
            f"{opened.name} cannot be decoded as {codec}: {error}", "name the right encoding with --encoding"
        ) from None
    return Content(codec, text, opened.head_is_all)


def _check_utf16(opened: Input) -> None:
    """Refuse UTF-16 and UTF-32, which decode as UTF-8 full of NULs."""
    head = opened.head
    for bom, name in _BOMS:
        if head.startswith(bom):
            raise source_error(
                f"{opened.name} is not UTF-8: line 1, byte 1 of the file starts a {name.upper()} byte order mark",
                _advice(head, 0, name),
            )
    if head.count(0) * 5 < len(head) or not head:
        return
    at = head.index(0)
    likely = next((n for n in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be") if _reads_well(head, n)), None)
    line = len(LINE_BREAK.findall(head[:at].decode("latin-1"))) + 1
    raise source_error(
        f"{opened.name} is not UTF-8: line {line}, byte {at + 1:,} of the file is NUL, and so are many more",
        _advice(head, 0, likely) if likely else "it is not a text file",
    )


def _reads_well(head: bytes, name: str) -> bool:
    try:
        text = head[: len(head) // 4 * 4].decode(name)
    except UnicodeError:
        return False
    ordinary = sum(c.isprintable() or c in "\r\n\t" for c in text[:1000])
    ascii_share = sum(c.isascii() and c != "\0" for c in text[:1000])
    return ordinary * 100 >= 95 * len(text[:1000]) and ascii_share * 4 >= len(text[:1000])


def _check_share(opened: Input, content: Content) -> None:
    """Refuse a file that is wholly in another encoding; a few bad lines are a matter of their rows."""
    if first_escaped(content.text) is None:
        return
    lines = content.text.split("\n" if "\n" in content.text else "\r")
    bad = sum(first_escaped(line) is not None for line in lines)
    good = sum(not line.isascii() for line in lines) - bad
    if bad > good and bad * 100 > len(lines):
        raise encoding_error(opened, content)


def _suggestion(head: bytes, offset: int, tried: str) -> str:
    for name in (*_JAPANESE, "cp1252", "latin-1"):
        if name != tried and _plausible(head, name):
            return _advice(head, offset, name)
    return "name the encoding with --encoding"


def _plausible(head: bytes, name: str) -> bool:
    try:
        # Without a final flush: the head may end within a character.
        text = codecs.getincrementaldecoder(name)("strict").decode(head, final=False)
    except UnicodeError:
        return False
    foreign = [c for c in text if not c.isascii()]
    if name in _JAPANESE:
        # Western letters pair up into rare kanji, but hardly ever into full-width kana.
        kana = sum("\u3040" <= c <= "\u30ff" for c in foreign)
        return kana * 5 >= len(foreign) > 0
    if any(unicodedata.category(c) == "Cc" for c in foreign):
        return False
    letters = sum(c.isalpha() for c in text)
    return sum(c.isalpha() for c in foreign) * 2 < max(letters, 1)


def _advice(head: bytes, offset: int, name: str) -> str:
    text = head.decode(name, "replace")
    at = len(head[:offset].decode(name, "replace"))
    start = max(text.rfind("\n", 0, at), text.rfind("\r", 0, at), at - 30) + 1
    preview = LINE_BREAK.split(text[start : start + 60].lstrip("\ufeff"))[0]
    preview = "".join(c if c.isprintable() else " " for c in preview).strip()
    return f"if this reads well: “{preview}”, add --encoding {name}"
