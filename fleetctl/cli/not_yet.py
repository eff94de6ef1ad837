"""What DESIGN promises and is not built yet: refused by name, never ignored and never mistaken for a typing error."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

from fleetctl.errors import NotSupportedError

_OPTIONS = """
-f --forks -u --user -k --ask-pass -K --ask-become-pass -b --become -D --diff -v --verbose
--json --trust --lenient
"""
_COMMANDS = "init exec copy inventory rollback endpoints"
OPTIONS = frozenset(_OPTIONS.split())
COMMANDS = frozenset(_COMMANDS.split())


class Command(TyperCommand):
    """A command that knows the options it will have one day."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own = {name for parameter in self.params for name in (*parameter.opts, *parameter.secondary_opts)}
        for word in args:
            if word == "--":
                break
            name = word.partition("=")[0] if word.startswith("--") else word
            if name in OPTIONS - own:
                raise NotSupportedError(f"not supported yet: {name}", hint=f"see: fleetctl {self.name} --help")
        return super().parse_args(ctx, args)


class Group(TyperGroup):
    """The commands there are, and the names of those to come."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        found = super().get_command(ctx, cmd_name)
        if found is None and cmd_name in COMMANDS:
            raise NotSupportedError(f"not supported yet: {cmd_name}", hint="see: fleetctl --help")
        return found
