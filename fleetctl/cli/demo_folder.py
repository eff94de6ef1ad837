"""The one folder a demo keeps everything in, with its owner, so that the next demo can tidy up after a dead one."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fleetctl.embedded.fleet import clear
from fleetctl.embedded.processes import end_processes_under
from fleetctl.errors import StateError
from fleetctl.state.identity import Process, is_gone, this_process
from fleetctl.state.records import dump, load

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "fleetctl-demo-"
OWNER = "owner.json"
FLEET = "fleet"  # the only thing in it besides the owner
BEGINNING_S = 60.0  # a folder without an owner may be one that is just being made


@contextmanager
def demo_folder() -> Iterator[Path]:
    """A new folder for the fleet of this demo (not made yet); whatever then runs or lies there is gone in the end."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
    try:
        (folder / OWNER).write_text(dump(Process, this_process()))
        yield folder / FLEET
    finally:
        remove(folder)


def remove_dead_demos() -> tuple[Path, ...]:
    """Ends what demos left behind whose process is gone, and removes their folders: says which."""
    here = this_process()
    removed = []
    for folder in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*")):
        if _is_ours(folder) and _is_dead(folder, here):
            remove(folder.resolve())
            removed.append(folder)
    return tuple(removed)


def remove(folder: Path) -> None:
    """Everything under a demo's folder, running or lying. The owner goes last: what is cut short is ended later."""
    end_processes_under(folder)
    if (folder / FLEET).is_dir():
        (folder / FLEET / "id_ed25519").touch()  # a removal that was killed may have taken what marks it as a fleet's
        clear(folder / FLEET)
    shutil.rmtree(folder)


def _is_ours(folder: Path) -> bool:
    """A real folder of this user's: in a shared /tmp a name alone says nothing."""
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _is_dead(folder: Path, here: Process) -> bool:
    try:
        return is_gone(load(Process, (folder / OWNER).read_text(), what=str(folder / OWNER)), here)
    except (OSError, StateError):
        return not (folder / FLEET).exists() and time.time() - folder.stat().st_mtime > BEGINNING_S
