"""``kb import --plan``, ``--apply``, ``--source`` and ``--sync`` at the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kb.cli.import_options import FORMATS
from kb.sources import Format
from tests.conftest import article

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Ran

    Run = Callable[..., Ran]


def save(path: Path, *ids: str, **changes: Any) -> Path:
    path.write_text("".join(json.dumps(article(id, **changes)) + "\n" for id in ids))
    return path


def test_the_formats_are_those_that_can_be_read() -> None:
    assert tuple(str(format) for format in Format) == FORMATS


def test_a_plan_is_shown_and_applied(run_kb: Run, tmp_path: Path) -> None:
    path = save(tmp_path / "in.jsonl", "a1", "a2", "a3")
    assert run_kb("import", path, "--source", "feed", "--sync").code == 0
    save(path, "a1", "a2", "a4", rating=1.0)
    plan = tmp_path / "plan.json"
    made = run_kb("import", path, "--source", "feed", "--sync", "--max-delete", "50%", "--plan", plan)
    assert (made.code, json.loads(made.out)) == (
        0,
        {
            "plan": str(plan),
            "collection": "articles",
            "read": 3,
            "new": 1,
            "updated": 0,
            "fields_only": 2,
            "unchanged": 0,
            "vanished": 1,
            "removed": 1,
            "conflicts": 0,
            "rejected": 0,
        },
    )
    assert made.err == f"the plan is in {plan}; do it with: kb import --apply {plan}\n"
    assert run_kb("list").out.count("\n") == 3
    applied = run_kb("import", "--apply", plan, "--format", "json")
    found = json.loads(applied.out)
    assert (applied.code, found["new"], found["fields_only"], found["removed"]) == (0, 1, 2, 1)
    again = run_kb("import", "--apply", plan)
    assert (again.code, again.out, again.err) == (
        1,
        "",
        "error: 'articles' has been written to since the plan was made\n"
        "  nothing was imported\n"
        "  make the plan again: kb import … --plan\n",
    )


def test_a_plan_takes_no_other_options(run_kb: Run, tmp_path: Path) -> None:
    ran = run_kb("import", "--apply", "plan.json", "--atomic")
    assert (ran.code, ran.out) == (2, "")
    assert "--apply FILE does what the plan says: give no files and no other options" in ran.err


def test_a_sync_that_would_delete_too_much_is_refused(run_kb: Run, tmp_path: Path) -> None:
    path = save(tmp_path / "in.jsonl", "a1", "a2", "a3")
    assert run_kb("import", path, "--source", "feed", "--sync").code == 0
    save(path, "a1")
    ran = run_kb("import", path, "--source", "feed", "--sync")
    assert (ran.code, ran.err) == (
        1,
        "error: 2 of the 3 documents of 'feed' are not in the input any more; at most 10 % may be deleted\n"
        "  no vanished document was deleted; the rows of the input are in\n"
        "  if that is right: --max-delete 67%\n",
    )
    assert run_kb("list").out.count("\n") == 3
