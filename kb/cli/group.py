"""Groups of commands that say which of their commands was meant."""

from __future__ import annotations

import click

from kb.errors import nearest


class NearestGroup(click.Group):
    """A group that answers an unknown command with the nearest one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments name, as ``click.Group``."""
        names = self.list_commands(ctx)
        if args and args[0] not in names and not args[0].startswith("-"):
            ctx.fail(f"there is no command '{args[0]}'; {nearest(args[0], names)}")
        return super().resolve_command(ctx, args)
