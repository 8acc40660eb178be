"""Opening: suffixes, standard input, pipes and what is no file at all (E21)."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from kb.errors import SourceError
from kb.sources import Format, Reading, Source, open_source

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = {
    Format.CSV: "id,n\na,1\nb,2\n",
    Format.TSV: "id\tn\na\t1\nb\t2\n",
    Format.JSON: '[{"id": "a", "n": "1"}, {"id": "b", "n": "2"}]',
    Format.JSONL: '{"id": "a", "n": "1"}\n{"id": "b", "n": "2"}\n',
}
TEXT_FORMATS = list(TEXTS)
VALUES = [{"id": "a", "n": "1"}, {"id": "b", "n": "2"}]


def opened(path: object, format: Format | None = None) -> Source:
    return open_source(str(path), Reading(format))


@pytest.mark.parametrize(
    ("suffix", "format"),
    [(".csv", "csv"), (".tsv", "tsv"), (".TAB", "tsv"), (".json", "json"), (".jsonl", "jsonl"), (".ndjson", "jsonl")],
)
def test_the_suffix_says_the_format(tmp_path: Path, suffix: str, format: str) -> None:
    path = tmp_path / f"data{suffix}"
    path.write_text(TEXTS[Format(format)])
    source = opened(path)
    assert (source.name, source.format) == (str(path), format)
    assert [row.values for row in source.rows()] == VALUES


def test_an_unknown_suffix_needs_the_option(tmp_path: Path) -> None:
    path = tmp_path / "data.dat"
    path.write_text(TEXTS[Format.CSV])
    with pytest.raises(SourceError) as caught:
        opened(path)
    assert (caught.value.what, caught.value.hint) == (
        f"the format of {path} is not known by its name",
        "say --input csv|tsv|json|jsonl|parquet|excel|sqlite|markdown",
    )  # fmt: skip
    assert [row.values for row in opened(path, Format.CSV).rows()] == VALUES


@pytest.mark.parametrize("format", TEXT_FORMATS)
def test_faults_E21_standard_input(monkeypatch: pytest.MonkeyPatch, format: Format) -> None:
    data = io.BytesIO(TEXTS[format].encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(data))
    source = opened("-", format)
    assert (source.name, source.total, source.fingerprint()) == ("<stdin>", None, None)
    assert [row.values for row in source.rows()] == VALUES
    assert source.position == len(TEXTS[format])
    source.check_unchanged()
    assert not data.closed
    if format is not Format.JSON:
        with pytest.raises(SourceError, match="<stdin> can be read only once"):
            list(source.rows())


def test_faults_E21_no_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SourceError, match="<stdin> cannot be read: there is no standard input"):
        opened("-", Format.CSV)


@pytest.mark.parametrize("format", TEXT_FORMATS)
def test_faults_E21_a_named_pipe(tmp_path: Path, format: Format) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    # Longer than what is read ahead.
    text = TEXTS[format].rstrip() + "\n" * (1200 * 1024)
    writer = threading.Thread(target=path.write_text, args=(text,))
    writer.start()
    source = opened(path, format)
    assert (source.total, source.fingerprint()) == (None, None)
    assert [row.values for row in source.rows()] == VALUES
    writer.join()
    assert source.position == len(text)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/random", "/dev/tty"])
@pytest.mark.parametrize("format", [None, *Format])
def test_faults_E21_devices_are_refused_at_once(device: str, format: Format | None) -> None:
    with pytest.raises(SourceError, match=f"{device} is a device, not a file"):
        opened(device, format)


def test_faults_E21_what_is_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "data.csv"
    folder.mkdir()
    with pytest.raises(SourceError, match="data.csv is a directory"):
        opened(folder)
    with pytest.raises(SourceError, match="missing.csv does not exist"):
        opened(tmp_path / "missing.csv")
    with pytest.raises(SourceError, match="missing.txt does not exist"):
        opened(tmp_path / "missing.txt")
    with pytest.raises(SourceError, match="Not a directory"):
        open(tmp_path / "x.csv", "w").close()
        opened(tmp_path / "x.csv" / "y.csv")
    with pytest.raises(SourceError, match="embedded null byte"):
        opened("a\0b.csv")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        with pytest.raises(SourceError, match="is a socket"):
            opened(tmp_path / "s", Format.CSV)


def test_faults_E21_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "secret.csv"
    path.write_text("id\n1\n")
    path.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(SourceError, match="secret.csv cannot be read: permission denied"):
            opened(path)
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs /proc")
def test_faults_E21_a_file_that_fails_on_reading() -> None:
    with pytest.raises(SourceError, match="/proc/self/mem cannot be read: Input/output error"):
        opened("/proc/self/mem", Format.CSV)


def test_packages_are_imported_for_their_formats_only(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(TEXTS[Format.CSV])
    code = (
        "import sys, kb.sources as s; list(s.open_source('a.csv').rows()); "
        "sys.exit(bool({'pandas', 'numpy', 'pyarrow', 'openpyxl', 'zstandard', 'yaml', 'sqlalchemy'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
