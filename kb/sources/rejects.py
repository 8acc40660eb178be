"""``RejectWriter``: refused rows in the input's own format, so that the mended file goes through the same command."""

from __future__ import annotations

import codecs
import errno
import json
import os
import re
from typing import TYPE_CHECKING, BinaryIO, Final

from kb.errors import LimitError, SourceError
from kb.sources.csv_reader import CsvSource
from kb.sources.input import COMMITTED
from kb.sources.json_reader import JsonArraySource
from kb.sources.json_text import to_json
from kb.sources.row import LINE, RAW, REASON
from kb.sources.source import Format

if TYPE_CHECKING:
    from kb.errors import KBError
    from kb.sources.row import Row
    from kb.sources.source import Source

_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f\s]+")


def open_rejects(path: str | os.PathLike[str], source: Source, *, resume_at: int | None) -> RejectWriter:
    """Return the writer of the rows that ``source`` yields and somebody refuses.

    Args:
        path: Where to; the file is made when the first row is refused, and an older one is replaced then.
        source: The input; decides format, delimiter, encoding and header. Only its rows may be written: the text of a
            row with another delimiter or encoding would be spoiled.
        resume_at: What ``RejectWriter.flush`` returned last in the job that is resumed; what lies behind is cut off.
            None for a new job.

    Raises:
        SourceError: The file of the job that is resumed is not there or shorter.
    """
    writer = RejectWriter(path, source)
    if resume_at:
        writer.resume(resume_at)
    return writer


class RejectWriter:
    """Writes refused rows with two leading columns or keys, ``_reason`` and ``_line``.

    CSV and TSV rows keep their text as it came, ragged or not, with bytes that could not be decoded. A JSON row keeps
    its text too; one that could not be read is wrapped: ``{"_reason": …, "_line": …, "_raw": "the text"}``, a
    Markdown file together with its ``path``. A list that was found somewhere in a document stands there again. Rows of
    Parquet, Excel and SQLite files, of Markdown and of data frames become JSON Lines, with dates and times as ISO text.
    The file has mode 0600.

    Attributes:
        path: Where the file is, or will be.
        count: How many rows this writer has written.
    """

    def __init__(self, path: str | os.PathLike[str], source: Source) -> None:
        self.path = os.fspath(path)
        self.count = 0
        self._source = source
        self._encoder = codecs.getincrementalencoder(source.encoding)("surrogateescape")
        self._file: BinaryIO | None = None

    def write(self, row: Row, reason: str) -> None:
        """Add one row.

        Args:
            row: As the source yielded it.
            reason: Why it was refused; put on one line.
        """
        reason = _UNPRINTABLE.sub(" ", reason).strip()
        if self._file is None:
            self._file = self._create()
            self._write(self._opening())
            separator = "\n" if self._source.rejects is Format.JSON else ""
        else:
            separator = ",\n" if self._source.rejects is Format.JSON else ""
        self._write(separator + self._record(row, reason))
        self.count += 1

    def flush(self) -> int:
        """Make what was written survive a crash; return the size in bytes to resume at, 0 when there is no file."""
        if self._file is None:
            return 0
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from None
        return self._file.tell()

    def close(self) -> None:
        """Finish the file."""
        if self._file is None:
            return
        if isinstance(self._source, JsonArraySource):
            self._write(f"\n{self._source.closing}\n")
        self.flush()
        self._file.close()
        self._file = None

    def resume(self, size: int) -> None:
        """Open the file of a killed job and cut it down to ``size`` bytes; see ``open_rejects``."""
        try:
            file = open(self.path, "r+b")
        except OSError as error:
            raise self._not_resumable(error.strerror or str(error)) from None
        if os.fstat(file.fileno()).st_size < size:
            file.close()
            raise self._not_resumable("it is shorter than when the job stopped")
        file.truncate(size)
        file.seek(size)
        self._encoder.encode("x")  # so that no second byte order mark is written
        self._file = file

    def _not_resumable(self, why: str) -> SourceError:
        return SourceError(
            f"the rejects of the job, {self.path}, cannot be continued: {why}",
            unchanged=COMMITTED,
            hint="import the file again as a new job; unchanged rows cost nothing",
        )

    def _unwritable(self, error: OSError) -> KBError:
        what = f"rejected rows cannot be written to {self.path}: {error.strerror or error}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return LimitError(what, unchanged=COMMITTED, hint="free some space and resume the job")
        return SourceError(what, unchanged=COMMITTED, hint="check the directory and its mode")

    def _create(self) -> BinaryIO:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
        try:
            descriptor = os.open(self.path, flags, 0o600)
            os.chmod(self.path, 0o600)  # an older file keeps the mode it had
        except OSError as error:
            raise self._unwritable(error) from None
        return os.fdopen(descriptor, "wb")

    def _write(self, text: str) -> None:
        assert self._file is not None
        try:
            data = self._encoder.encode(text)
        except UnicodeError:
            # A codec of several bytes a character, such as UTF-16, has no room for a single undecodable byte.
            codec = self._source.encoding
            data = self._encoder.encode(text.encode(codec, "backslashreplace").decode(codec))
        try:
            self._file.write(data)
        except OSError as error:
            raise self._unwritable(error) from None

    def _opening(self) -> str:
        if isinstance(self._source, CsvSource):
            delimiter = self._source.dialect.delimiter
            return f"{REASON}{delimiter}{LINE}{delimiter}{self._source.header}\n"
        return self._source.opening if isinstance(self._source, JsonArraySource) else ""

    def _record(self, row: Row, reason: str) -> str:
        if isinstance(self._source, CsvSource):
            return self._cells(row, reason)
        encoding = self._source.encoding
        leading = to_json({REASON: reason, LINE: row.line}, encoding)[:-1]
        if isinstance(row.raw, dict) and RAW in row.raw:
            members = _quoted(row.raw, encoding)[1:]
        elif not isinstance(row.raw, str):
            members = to_json(row.raw, encoding).lstrip("{")
        elif row.problem is None:
            members = row.raw.strip()[1:].lstrip()
        else:
            members = f'"{RAW}": {_quoted(row.raw, encoding)}}}'
        text = leading + (members if members == "}" else ", " + members)
        return text if self._source.rejects is Format.JSON else text + "\n"

    def _cells(self, row: Row, reason: str) -> str:
        assert isinstance(self._source, CsvSource)
        # What the codec cannot write must not spoil the row that follows.
        reason = reason.encode(self._source.encoding, "backslashreplace").decode(self._source.encoding)
        dialect = self._source.dialect
        return f"{dialect.write([reason, row.line])}{dialect.delimiter}{row.raw}\n"


def _quoted(raw: object, encoding: str) -> str:
    """Return the JSON of text in which bytes that could not be decoded go back as bytes."""
    text = json.dumps(raw, ensure_ascii=False)
    try:
        text.encode(encoding, "surrogateescape")
    except UnicodeError:
        return json.dumps(raw)
    return text
