"""The commands. Each parses its options, calls one function of the engine and renders one value.

Imported by every command, so what is heavy (SSH, the store, YAML) is imported inside the command that needs it.
"""

from __future__ import annotations

from typing import Annotated

import typer

from fleetctl.cli.not_yet import Command, Group
from fleetctl.cli.options import (
    Adopt,
    AllowUnreachable,
    Check,
    ExtraVars,
    Force,
    Host,
    Hosts,
    Inventory,
    Job,
    Json,
    Limit,
    Playbook,
    Prune,
    TakeOver,
    Terms,
    Why,
)
from fleetctl.errors import UsageError

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
    limit: Limit = None,
    prune: Prune = False,
    adopt: Adopt = False,
    allow_unreachable: AllowUnreachable = "0",
    force: Force = False,
    json: Json = False,
) -> int:
    """Say what `deploy` would do and why, and what it would hold back and why. Changes nothing.

    Exits 0 whether or not there is something to do, 3 where something would need a human, 4 where a host could not be
    reached.
    """
    from fleetctl.cli import commands

    terms = Terms(limit, prune, adopt, allow_unreachable, force=force)
    return commands.plan(playbook, inventory, extra_vars or [], terms, as_json=json)


@app.command(cls=Command)
def deploy(
    playbook: Playbook,
    inventory: Inventory = None,
    extra_vars: ExtraVars = None,
    limit: Limit = None,
    prune: Prune = False,
    adopt: Adopt = False,
    allow_unreachable: AllowUnreachable = "0",
    take_over: TakeOver = False,
    check: Check = False,
    force: Force = False,
) -> int:
    """Bring the jobs of a playbook onto the hosts: what changed is replaced, what is missing is started.

    Jobs that are gone from the playbook are shown and kept running, unless --prune stops them.
    """
    from fleetctl.cli import commands, driving

    terms = Terms(limit, prune, adopt, allow_unreachable, take_over, force)
    if check:
        return commands.plan(playbook, inventory, extra_vars or [], terms, as_json=False)
    return driving.deploy(playbook, inventory, extra_vars or [], terms)


@app.command(cls=Command)
def status(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[JOB|REPLICA]", show_default=False, help="All there is to know of these instances."),
    ] = None,
    inventory: Inventory = None,
    json: Json = False,
) -> int:
    """Show each job and where its replicas run; of a job or a replica that is named, its processes, what they use, what
    binds them and what befell them. Changes nothing.

    Exits 0 where all is as wished, 3 where something is missing or needs a human, 4 where hosts could not be reached.
    """
    from fleetctl.cli import commands

    return commands.status(inventory, as_json=json, of=name)


@app.command(cls=Command)
def heal(
    inventory: Inventory = None,
    limit: Limit = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on, round after round, until Ctrl-C.")] = False,
    interval: Annotated[
        str | None,
        typer.Option("--interval", metavar="TIME", show_default=False,
                     help="With --watch: between two rounds, 10s unless given; longer after errors."),
    ] = None,
    take_over: TakeOver = False,
    check: Check = False,
    force: Force = False,
) -> int:  # fmt: skip
    """Bring back what is missing, on the hosts that live, and finish drains. Starts nothing new, and replaces nothing
    that runs where it may run.

    Says what was found, what was done and what needs a human. In a pipe or cron it says only what changed since the
    last one, and nothing where there was nothing to do.
    """
    from fleetctl.cli import commands, driving

    terms = Terms(limit, take_over=take_over, force=force)
    if watch:
        from fleetctl.cli import watching

        return watching.watch(inventory, terms, interval or "10s", check=check)
    if interval is not None:
        raise UsageError("--interval goes with --watch")
    if check:
        return commands.heal_check(inventory, terms)
    return driving.heal(inventory, terms)


@app.command(cls=Command)
def logs(
    name: Annotated[str, typer.Argument(metavar="JOB|REPLICA", show_default=False)],
    inventory: Inventory = None,
    lines: Annotated[
        int | None,
        typer.Option("-n", "--lines", min=1, max=10_000, show_default=False,
                     help="How many, the last ones of each instance; 100 unless --since or --previous tells how far."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", show_default=False,
                     help="What came since then: 10m ago, or 2026-03-01T02:00 (local time)."),
    ] = None,
    previous: Annotated[
        bool, typer.Option("--previous", help="What the run before the newest said, such as the one that crashed.")
    ] = False,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes, until Ctrl-C.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line, of a documented shape.")] = False,
) -> int:  # fmt: skip
    """Show what programs said: of a job (web), a replica (web.1) or an instance (web.1@47), all hosts merged by time.

    Each line bears the time when it was read from its program. Changes nothing. Exits 4 where some could not be asked.
    """
    from fleetctl.cli import reading_logs

    return reading_logs.logs(name, inventory, lines, since, previous=previous, goes_on=follow, as_json=json)


@app.command(cls=Command)
def stop(job: Job, inventory: Inventory = None) -> int:
    """Stop a job on all hosts. It stays stopped, also for heal, until `start` or its next deploy."""
    from fleetctl.cli import driving

    return driving.stop(job, inventory)


@app.command(cls=Command)
def start(job: Job, inventory: Inventory = None) -> int:
    """Start a job that `stop` ended, as it was wished before."""
    from fleetctl.cli import driving

    return driving.start(job, inventory)


@app.command(cls=Command)
def restart(job: Job, inventory: Inventory = None) -> int:
    """Replace what runs of a job by new instances of the same release, within its budget."""
    from fleetctl.cli import driving

    return driving.restart(job, inventory)


@app.command(cls=Command)
def scale(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB=N", show_default=False)], inventory: Inventory = None
) -> int:
    """Give jobs another number of replicas, until their next deploy: `scale web=4 api=2`, or `scale web 4`."""
    from fleetctl.cli import driving

    return driving.scale(jobs, inventory)


@app.command(cls=Command)
def cordon(hosts: Hosts, inventory: Inventory = None, why: Why = "") -> int:
    """Let hosts take no new work. What runs there goes on; `uncordon` ends it."""
    from fleetctl.cli import driving

    return driving.cordon(hosts, inventory, why)


@app.command(cls=Command)
def uncordon(hosts: Hosts, inventory: Inventory = None) -> int:
    """Let hosts take work again."""
    from fleetctl.cli import driving

    return driving.uncordon(hosts, inventory)


@app.command(cls=Command)
def drain(
    host: Host,
    inventory: Inventory = None,
    why: Why = "",
    deadline: Annotated[
        str, typer.Option("--deadline", metavar="TIME", help="Until when to try again; 0s tries once.")
    ] = "10m",
) -> int:
    """Cordon a host and move all work off it, each job within its budget; says what blocks it.

    Exits 0 once nothing of ours runs there, 3 where the deadline passed before: the wish stays, and each heal goes on.
    """
    from fleetctl.cli import driving

    return driving.drain(host, inventory, why, deadline)


@app.command(cls=Command)
def hosts(
    inventory: Inventory = None,
    explain: Annotated[
        str | None,
        typer.Option("--explain", metavar="HOST", show_default=False,
                     help="The whole story of one host, and what would change its verdict."),
    ] = None,
    forget: Annotated[
        str | None,
        typer.Option("--forget", metavar="HOST", show_default=False,
                     help="Know nothing of this host any more: it is gone for good, or was installed anew."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Forget it although work of ours may run there.")] = False,
    json: Json = False,
) -> int:  # fmt: skip
    """Show each host, what is believed of it and why, and what it has room for. Changes nothing but by --forget.

    Exits as `status` does.
    """
    from fleetctl.cli import commands

    if forget is not None:
        from fleetctl.cli import forgetting

        return forgetting.forget(forget, inventory, force=force)
    return commands.hosts(inventory, as_json=json, explained=explain)


@app.command(cls=Command)
def history(
    inventory: Inventory = None,
    runs: Annotated[int, typer.Option("-n", min=1, max=10_000, help="How many, newest first.")] = 20,
    run: Annotated[
        int | None, typer.Option("--run", metavar="N", show_default=False, help="All of this one run: its whole plan.")
    ] = None,
    json: Json = False,
) -> int:
    """Show what was done, when, by whom and why: every command that held the run lock. Opens no connection."""
    from fleetctl.cli import commands

    if run is not None:
        return commands.history_of(inventory, run, as_json=json)
    return commands.history(inventory, runs, as_json=json)


@app.command(cls=Command)
def demo() -> int:
    """Show all of it on this machine: four hosts in loopback, a job, one host lost, and its work running elsewhere.

    Needs no root, no SSH server and no Docker; takes half a minute and leaves nothing behind.
    """
    from fleetctl.cli import demo as story

    return story.play()
