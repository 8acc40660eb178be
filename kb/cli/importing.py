"""``kb import``."""

from __future__ import annotations

import click

from kb.cli.options import Shared, shared
from kb.cli.running import exit_code, print_job, run_steps


@click.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--map", "maps", multiple=True, metavar="COLUMN=FIELD", help="Fill a field (or id) from another column.")
@click.option("--split", "splits", multiple=True, metavar="FIELD=SEP", help="What separates the items of a list.")
@click.option(
    "--input", type=click.Choice(("csv", "tsv", "json", "jsonl")), help="The format, where no suffix says it."
)
@click.option("--encoding", metavar="NAME", help="Of CSV and TSV; default UTF-8.")
@click.option(
    "--unknown-columns",
    type=click.Choice(("error", "ignore")),
    default="error",
    show_default=True,
    help="Columns that are neither mapped nor fields.",
)
@click.option("--fail-empty", is_flag=True, help="No rows at all is an error.")
@click.option("--dry-run", is_flag=True, help="Check everything, write nothing.")
@shared
def import_(
    options: Shared,
    files: tuple[str, ...],
    maps: tuple[str, ...],
    splits: tuple[str, ...],
    input: str | None,
    encoding: str | None,
    unknown_columns: str,
    fail_empty: bool,
    dry_run: bool,
) -> int:
    """Import FILEs (CSV, TSV, a JSON list, JSON Lines; - is stdin) as one job.

    New rows are added, changed ones replaced, unchanged ones skipped without
    calling the model. A row that does not fit is rejected with all its
    problems; rejects go to a file in the input's own format, to be mended and
    imported by the same command. Exit code 3 when rows were rejected.

    \b
    Examples:
      kb import data/articles.csv
      kb import export.csv --map Headline=title --split "tags=;" --dry-run
    """
    from kb.ingest import FieldMapping, ImportRequest, Policy, UnknownColumns
    from kb.sources import Format, Reading

    request = ImportRequest(
        files=files,
        reading=Reading(format=None if input is None else Format(input), encoding=encoding),
        mapping=FieldMapping(
            columns=_assignments(maps, "--map"),
            split=_assignments(splits, "--split"),
            unknown_columns=UnknownColumns(unknown_columns),
        ),
        policy=Policy(fail_empty=fail_empty),
    )
    with options.open() as base:
        job = run_steps(options, base, options.pick(base).import_steps(request, dry_run=dry_run))
    print_job(options, job, dry_run=dry_run)
    return exit_code(job)


def _assignments(values: tuple[str, ...], option: str) -> dict[str, str]:
    pairs = {}
    for value in values:
        # The last "=" divides a mapping (columns may hold one), the first a separator (which may be one).
        left, equals, right = value.rpartition("=") if option == "--map" else value.partition("=")
        if not equals or not left or not right:
            raise click.UsageError(f"{option} {value}: write {'COLUMN=FIELD' if option == '--map' else 'FIELD=SEP'}")
        if left in pairs:
            raise click.UsageError(f"{option} names '{left}' twice")
        pairs[left] = right
    return pairs
