"""The commands. Each parses its options, calls one function of the engine and renders one value.

Imported by every command, so what is heavy (SSH, the store, YAML) is imported inside the command that needs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleetctl.cli.not_yet import Command, Group

app = typer.Typer(
    name="fleetctl",
    cls=Group,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 as wished, 1 an operation failed, 2 wrong usage or invalid file (nothing was touched), "
    "3 degraded: needs a human, 4 as wished but some hosts could not be reached, 5 someone else drives, "
    "130 interrupted.",
)

Inventory = Annotated[
    Path | None,
    typer.Option("-i", "--inventory", metavar="PATH", show_default=False,
                 help="The inventory; else $FLEETCTL_INVENTORY, else that of the last deploy."),
]  # fmt: skip
Playbook = Annotated[Path, typer.Argument(metavar="PLAYBOOK", show_default=False)]
Job = Annotated[str, typer.Argument(metavar="JOB", show_default=False)]
ExtraVars = Annotated[
    list[str] | None,
    typer.Option("-e", "--extra-vars", metavar="KEY=VALUE|@FILE", show_default=False,
                 help="A variable for the playbook's templates; wins over all others."),
]  # fmt: skip
Check = Annotated[bool, typer.Option("-C", "--check", help="Only say what would be done, as `plan` does.")]
Force = Annotated[
    bool,
    typer.Option("--force", help="Act although too much of the fleet is lost. Never lifts doubt about single hosts."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON of a documented, versioned shape.")]


@app.callback(invoke_without_command=True)
def fleetctl(
    context: typer.Context,
    _version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,  # done before: see main
    _debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with an error; goes anywhere.")] = False,
) -> None:
    """Turn a handful of plain Linux servers into one computer, over SSH."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


@app.command(cls=Command)
def check(playbook: Playbook, inventory: Inventory = None, extra_vars: ExtraVars = None) -> int:
    """Read the inventory and the playbook and say what is wrong in them. Opens no connection."""
    from fleetctl.cli import commands

    return commands.check(playbook, inventory, extra_vars or [])


@app.command(cls=Command)
def plan(
    playbook: Playbook,
    inventory: Inventory = None,
    extra_vars: ExtraVars = None,
    force: Force = False,
    json: Json = False,
) -> int:
    """Say what `deploy` would do and why, and what it would hold back and why. Changes nothing.

    Exits 0 whether or not there is something to do, 3 where something would need a human, 4 where a host could not be
    reached.
    """
    from fleetctl.cli import commands

    return commands.plan(playbook, inventory, extra_vars or [], force=force, as_json=json)


@app.command(cls=Command)
def deploy(
    playbook: Playbook,
    inventory: Inventory = None,
    extra_vars: ExtraVars = None,
    check: Check = False,
    force: Force = False,
) -> int:
    """Bring the jobs of a playbook onto the hosts: what changed is replaced, what is missing is started."""
    from fleetctl.cli import commands

    if check:
        return commands.plan(playbook, inventory, extra_vars or [], force=force, as_json=False)
    return commands.deploy(playbook, inventory, extra_vars or [], force=force)


@app.command(cls=Command)
def status(inventory: Inventory = None, json: Json = False) -> int:
    """Show each job and where its replicas run. Changes nothing.

    Exits 0 where all is as wished, 3 where something is missing or needs a human, 4 where hosts could not be reached.
    """
    from fleetctl.cli import commands

    return commands.status(inventory, as_json=json)


@app.command(cls=Command)
def heal(inventory: Inventory = None, check: Check = False, force: Force = False) -> int:
    """Bring back what is missing, on the hosts that live. Starts nothing new, replaces nothing that runs.

    In a pipe or cron it says nothing where there was nothing to do.
    """
    from fleetctl.cli import commands

    return commands.heal_check(inventory, force=force) if check else commands.heal(inventory, force=force)


@app.command(cls=Command)
def logs(
    job: Job,
    inventory: Inventory = None,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, max=100_000, help="How many, of each instance.")] = 100,
) -> int:
    """Show the last lines of each instance of a job. Exits 4 where some could not be asked."""
    from fleetctl.cli import commands

    return commands.logs(job, inventory, lines)


@app.command(cls=Command)
def stop(job: Job, inventory: Inventory = None) -> int:
    """Stop a job on all hosts. It stays stopped, also for heal, until its next deploy."""
    from fleetctl.cli import commands

    return commands.stop(job, inventory)


@app.command(cls=Command)
def hosts(inventory: Inventory = None, json: Json = False) -> int:
    """Show each host, what is believed of it and why, and what it has room for. Changes nothing.

    Exits as `status` does.
    """
    from fleetctl.cli import commands

    return commands.hosts(inventory, as_json=json)


@app.command(cls=Command)
def demo() -> int:
    """Show all of it on this machine: four hosts in loopback, a job, one host lost, and its work running elsewhere.

    Needs no root, no SSH server and no Docker; takes half a minute and leaves nothing behind.
    """
    from fleetctl.cli import demo as story

    return story.play()
