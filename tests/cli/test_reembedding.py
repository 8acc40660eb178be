"""``kb reembed``: what it prints, writes and refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import kb
from kb.cli import main
from kb.reembedding import ReembedRequest
from tests.conftest import CONFIG, Ran, article

Run = Callable[..., Ran]


@pytest.fixture
def home(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (root / "config.toml").write_text(CONFIG.replace('"fake"', '"hashing-256"'))
    monkeypatch.setenv("KB_HOME", str(root))
    monkeypatch.setenv("COLUMNS", "120")
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(article(f"a{n}", body=f"Body number {n}.")) + "\n" for n in range(6)))
    with kb.open(root) as base:
        base.collection().import_file(path)
    return root


@pytest.fixture
def cli(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``kb`` in this process."""

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        code = main.run(list(arguments))
        return Ran(code, *capsys.readouterr())

    return run


def test_a_dry_run_shows_what_it_would_cost_and_does_nothing(cli: Run) -> None:
    ran = cli("reembed", "--template", "{title}", "--dry-run", "--format", "table")
    assert ran.code == 0
    assert re.fullmatch(
        r"6 documents, 6 chunks, 6 texts to embed in about 0 s; needs about 0\.\d MB of disk, [\d,.]+ MB are free\n",
        ran.out,
    )
    assert [json.loads(line)["name"] for line in cli("reembed", "--status").out.splitlines()] == ["articles-g1"]


def test_a_sample_is_compared(cli: Run) -> None:
    ran = cli("reembed", "--template", "{title}", "--sample", "4", "--format", "table")
    assert ran.out.splitlines()[0] == "compared on 4 documents by 4 made queries:"
    assert ran.err == "nothing was stored\n"


def test_from_building_to_promotion_and_back(cli: Run, home: Path) -> None:
    ran = cli("reembed", "--template", "{title}: {body}", "--chunks", "64/8", "--format", "table")
    assert ran.code == 0
    assert re.match(r"built articles-g2: 6 documents, 6 texts embedded, \d+\.\d s, job \d{8}-\d{6}-\w{6}\n", ran.out)
    assert "compared on 6 documents by 6 made queries:\n  overlap@10   1.000\n" in ran.out
    assert ran.err.endswith("kb reembed --promote lets it serve; kb reembed --discard deletes it\n")
    ran = cli("reembed", "--promote", "--format", "table")
    assert ran.out == "articles-g2 serves 'articles' now: hashing-256, chunks 64/8, {title}: {body}\n"
    assert ran.err == (
        "config.toml: wrote text, chunk_tokens, chunk_overlap of [collections.articles]\n"
        "articles-g1 is kept, and follows what is written: kb reembed --rollback lets it serve again\n"
    )
    assert 'text = "{title}: {body}"\nchunk_tokens = 64\nchunk_overlap = 8\n' in (home / "config.toml").read_text()
    status = cli("reembed", "--status", "--format", "table").out
    assert re.search(r"^articles-g1 +retired +hashing-256, chunks 256/32, ", status, re.MULTILINE)
    assert re.search(r"^articles-g2 +active +hashing-256, chunks 64/8, ", status, re.MULTILINE)
    assert json.loads(cli("reembed", "--rollback", "--format", "json").out)["name"] == "articles-g1"
    assert cli("verify", "--full").out == ""


def test_without_a_recipe_it_does_what_is_declared(cli: Run, home: Path) -> None:
    path = home / "config.toml"
    path.write_text(path.read_text().replace('model = "hashing-256"', 'model = "hashing-256"\nchunk_tokens = 32'))
    refused = cli("search", "body")
    assert refused.code == 13
    assert refused.err.endswith("beside those that serve: kb reembed -c articles\n")
    built = json.loads(cli("reembed", "--format", "json").out)
    assert (built["status"], built["generation"], built["read"], built["embedded"]) == ("done", "articles-g2", 6, 0)
    assert built["gate"]["overlap"] == 1.0
    assert cli("reembed", "--promote").code == 0
    assert cli("search", "body").code == 0


def test_a_build_is_a_job_that_is_listed_shown_resumed_and_cancelled(cli: Run, home: Path) -> None:
    with kb.open(home) as base:
        steps = base.collection().reembed_steps(ReembedRequest(template="{title}"))
        job = next(steps).job.id
        steps.close()
    assert f"{job}   interrupted" in cli("jobs", "--format", "table").out
    shown = cli("jobs", "show", job, "--format", "table").out
    assert re.search(r"^read +0 documents, 0 %", shown, re.MULTILINE)
    assert cli("jobs", "resume", job, "--format", "table").out.startswith("built articles-g2: 6 documents")
    assert cli("reembed", "--discard", "--format", "table").out == "discarded articles-g2\n"
    with kb.open(home) as base:
        steps = base.collection().reembed_steps(ReembedRequest(template="{title}"))
        job = next(steps).job.id
        steps.close()
    assert cli("jobs", "cancel", job, "--format", "table").out == f"cancelled {job} after 0 documents\n"
    assert cli("reembed", "--discard", "--format", "json").out == '{"discarded": "articles-g3"}\n'
    refused = cli("reembed", "--discard")
    assert (refused.code, refused.err) == (
        1,
        "error: no generation of 'articles' is being built\n  nothing was done\n",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--chunks", "few"], "'few' is not TOKENS or TOKENS/OVERLAP, e.g. 256/32"),
        (["--promote", "--rollback"], "say one of --promote, --rollback"),
        (["--promote", "--model", "x"], "--promote builds nothing: leave the other options out"),
        (["--template", "{titel}"], "did you mean 'title'?"),
        (["--max-rate", "0"], "0.0 is not in the range x>0"),
    ],
)
def test_what_makes_no_sense_is_refused(cli: Run, arguments: list[str], message: str) -> None:
    ran = cli("reembed", *arguments)
    assert ran.code == 2
    assert message in ran.err


def test_a_collection_without_documents_has_nothing_to_embed(root: Path, cli: Run) -> None:
    ran = cli("reembed", "-c", "nobody")
    assert (ran.code, ran.err.splitlines()[0]) == (4, "error: there is no collection 'nobody'")
