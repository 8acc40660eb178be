"""``kb doctor``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from kb.cli import render
from kb.cli.options import Shared, shared

if TYPE_CHECKING:
    from kb.maintain import Examination


@click.command()
@shared
def doctor(options: Shared) -> int:
    """Look at everything around the knowledge base, and say what is wrong and what mends it.

    Nothing is opened or written: it works while another process owns the knowledge base, and on one that is damaged.
    Exit code 0 when nothing is wrong, else 1.

    \b
    Examples:
      kb doctor
      kb doctor --format json
    """
    from kb.config import find_root
    from kb.maintain import examine

    found = examine(find_root(options.directory))
    if options.format == "json":
        render.print_json({"well": found.is_well, **asdict(found)})
    elif options.format == "table":
        _print(found)
    else:
        rows = [asdict(finding) for finding in found.findings]
        render.print_rows(rows, options.format, columns=["code", "severity", "message", "command"])
    wrong = sum(str(finding.severity) != "note" for finding in found.findings)
    options.note(f"{render.counted(wrong, 'thing')} to look after" if wrong else "all well")
    return 0 if found.is_well else 1


def _print(found: Examination) -> None:
    facts = render.table("what", "is", wrap=["is"])
    for fact in found.facts:
        facts.add_row(fact.name, render.short(fact.value, render.MAX_ID))
    render.console().print(facts)
    if not found.findings:
        return
    print()
    made = render.table("", "finding", "what to do", wrap=["finding", "what to do"])
    for one in found.findings:
        made.add_row(str(one.severity), render.short(one.message, render.MAX_ID), one.command)
    render.console().print(made)
