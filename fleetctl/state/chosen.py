"""Which inventory a command works on when the user does not say: a pure choice, so that cron needs no arguments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fleetctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "FLEETCTL_INVENTORY"


class Inventories(Protocol):
    """What is asked of the store, and only where neither option nor variable decides."""

    def fleets(self) -> tuple[str, ...]: ...

    def inventory_path(self, fleet: str) -> Path | None: ...


def choose_inventory(option: Path | None, environ: Mapping[str, str], store: Inventories) -> Path:
    """`-i`, else `FLEETCTL_INVENTORY`, else the path kept by the last deploy.

    Raises UsageError, naming what is known and `-i`, where that leaves none or more than one, or where the kept one
    is gone. Whether it can be read is not asked here.
    """
    if option is not None:
        return option
    if named := environ.get(VARIABLE, ""):
        return Path(named)
    known = {fleet: store.inventory_path(fleet) for fleet in store.fleets()}
    if not known:
        raise UsageError(
            "no inventory is named, and nothing was deployed from here yet",
            hint=f"name one with -i INVENTORY or in {VARIABLE}",
        )
    if len(known) > 1:
        listed = "\n".join(f"{fleet}: {path or 'no inventory kept'}" for fleet, path in sorted(known.items()))
        raise UsageError(f"which of {len(known)} fleets?", hint=f"{listed}\nname its inventory with -i INVENTORY")
    [(fleet, path)] = known.items()
    if path is None:
        raise UsageError(f"no inventory of fleet {fleet} is kept", hint="name it with -i INVENTORY")
    if not path.exists():
        raise UsageError(
            f"the inventory of fleet {fleet} is gone: {path}", hint="put it back, or name another with -i INVENTORY"
        )
    return path
