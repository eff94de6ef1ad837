"""The options that several commands share, each with the sentence of its help. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

Inventory = Annotated[
    Path | None,
    typer.Option("-i", "--inventory", metavar="PATH", show_default=False,
                 help="The inventory; else $FLEETCTL_INVENTORY, else that of the last deploy."),
]  # fmt: skip
Playbook = Annotated[Path, typer.Argument(metavar="PLAYBOOK", show_default=False)]
Job = Annotated[str, typer.Argument(metavar="JOB", show_default=False)]
Host = Annotated[str, typer.Argument(metavar="HOST", show_default=False)]
Hosts = Annotated[list[str], typer.Argument(metavar="HOST", show_default=False)]
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
Limit = Annotated[
    str | None,
    typer.Option("-l", "--limit", metavar="PATTERN", show_default=False,
                 help="Start and stop only on these hosts, such as web:&eu:!web3; the others are only looked at."),
]  # fmt: skip
Prune = Annotated[bool, typer.Option("--prune", help="Also stop the jobs that are gone from this playbook.")]
Adopt = Annotated[bool, typer.Option("--adopt", help="Take over jobs of the same name from another playbook.")]
AllowUnreachable = Annotated[
    str,
    typer.Option("--allow-unreachable", metavar="N|%",
                 help="Go on although so many hosts are silent; they are brought up to date once they are back."),
]  # fmt: skip
TakeOver = Annotated[
    bool,
    typer.Option("--take-over", help="Drive this fleet from here from now on, with what its hosts remember of it."),
]
Why = Annotated[
    str, typer.Option("--why", metavar="TEXT", show_default=False, help="The reason, for whoever looks next.")
]


@dataclass(frozen=True, slots=True)
class Terms:
    """How far a deploy or a heal may go, as it was typed."""

    limit: str | None = None
    prune: bool = False
    adopt: bool = False
    allow_unreachable: str = "0"
    take_over: bool = False
    force: bool = False

    def words(self) -> str:
        """As they stand in the history, behind the command."""
        said = [f"--limit {self.limit}"] if self.limit is not None else []
        said += [f"--allow-unreachable {self.allow_unreachable}"] if self.allow_unreachable != "0" else []
        for name in ("prune", "adopt", "take_over", "force"):
            said += [f"--{name.replace('_', '-')}"] if getattr(self, name) else []
        return "".join(f" {word}" for word in said)
