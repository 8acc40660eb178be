"""Files, folders, pipes, stdin and data frames → ``Row``; rejected rows → a file. Nothing here guesses types."""

from __future__ import annotations

from kb.sources.folder import expand_inputs, is_pattern
from kb.sources.frame import FrameSource, open_frame
from kb.sources.input import SourceFingerprint
from kb.sources.json_text import read_object
from kb.sources.opening import open_source
from kb.sources.quoted import inert
from kb.sources.reading import Reading
from kb.sources.rejects import RejectWriter, open_rejects
from kb.sources.row import Limits, Row
from kb.sources.several import SeveralSource, check_same_shape
from kb.sources.source import Format, Source
from kb.sources.table import to_frame
from kb.sources.writing import Column, ExportFormat, export_format, to_typed_frame, write_rows
from kb.sources.written import replacing

__all__ = [
    "Column",
    "ExportFormat",
    "Format",
    "FrameSource",
    "Limits",
    "Reading",
    "RejectWriter",
    "Row",
    "SeveralSource",
    "Source",
    "SourceFingerprint",
    "check_same_shape",
    "expand_inputs",
    "export_format",
    "inert",
    "is_pattern",
    "open_frame",
    "open_rejects",
    "open_source",
    "read_object",
    "replacing",
    "to_frame",
    "to_typed_frame",
    "write_rows",
]
