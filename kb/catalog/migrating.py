"""Making a catalog, and bringing that of an earlier release up to date: the Alembic scripts of ``migrations/``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import event

from kb.catalog.connect import writing_engine
from kb.catalog.files import copy_catalog, stored_revision
from kb.catalog.soundness import forget_closed
from kb.catalog.tables import HEAD, catalog_info
from kb.disk import sync
from kb.errors import DamagedError, NewerCatalogError
from kb.failpoints import failpoint


def is_current(revision: str | None) -> bool:
    """Return whether a catalog of that revision is what this release reads and writes."""
    return revision == HEAD


def checked_revision(path: Path, version: str) -> str | None:
    """Return the revision of an existing catalog, None where there is none; refuse that of a newer release."""
    found, writer = stored_revision(path)
    if found not in (None, HEAD) and found not in _known_revisions():
        raise NewerCatalogError(
            f"{path} was written by kb {writer}, which is newer than this kb {version}",
            unchanged="the catalog was not touched",
            hint=f"pip install 'kb>={writer}'",
        )
    return found


def migrations_folder() -> Path:
    """Return the folder of the Alembic scripts: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def _alembic_config(path: Path | None) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    if path is not None:
        config.attributes["path"] = path
    return config


def _known_revisions() -> set[str]:
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory.from_config(_alembic_config(None)).walk_revisions()}


def migrate(path: Path, found: str | None, version: str) -> None:
    """Bring a catalog from a revision, None for a new one, to that of this release, in one transaction."""
    from alembic import command

    if found is not None:
        forget_closed(path)
        copy_catalog(path, path.with_name(f"catalog.before-{HEAD}.sqlite3"))
    failpoint("migrate_before")
    # Built under another name: a killed first start leaves no half-made catalog under the real one.
    target = path if found is not None else path.with_suffix(".new")
    if found is None:
        target.unlink(missing_ok=True)
    engine = writing_engine(target)
    # A migration that copies a table and drops the old one must not take along what refers to it.
    event.listen(engine, "connect", lambda connection, _record: connection.execute("PRAGMA foreign_keys = OFF"))
    try:
        with engine.execution_options(kb_write=True).begin() as connection:
            config = _alembic_config(target)
            config.attributes["connection"] = connection
            command.upgrade(config, HEAD)
            if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall():
                raise DamagedError(f"{path} cannot be migrated: {len(broken)} rows refer to others that do not exist")
            connection.execute(catalog_info.delete().where(catalog_info.c.name == "kb_version"))
            connection.execute(catalog_info.insert().values(name="kb_version", value=version))
            failpoint("migrate_within")
    finally:
        engine.dispose()
    failpoint("migrate_after")
    if target is not path:
        target.replace(path)
        sync(path.parent)
