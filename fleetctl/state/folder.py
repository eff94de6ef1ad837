"""Where this controller remembers things: found without any environment at all, and kept from other users' eyes.

Says and prepares the folder; what lies in it is the business of `store` and `artifacts`.
"""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from fleetctl.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "FLEETCTL_STATE"


def state_folder(environ: Mapping[str, str]) -> Path:
    """The absolute path of the state folder, whether or not it exists yet.

    `FLEETCTL_STATE`, else `~/.local/state/fleetctl`. A leading `~/` is understood in both, because crontab's own
    variables are not expanded by any shell.
    """
    wished = environ.get(VARIABLE, "")
    if not wished:
        return _home(environ) / ".local/state/fleetctl"
    if wished == "~" or wished.startswith("~/"):
        return _home(environ) / wished[2:]
    return Path(wished).absolute()


def prepare(folder: Path) -> None:
    """Makes the folder, for its owner alone. One that is there stays as it is: StateError if others may write to it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = stat.S_IMODE(folder.stat().st_mode)
    except OSError as error:
        raise unusable(folder, error) from None
    if mode & 0o022:
        raise StateError(
            f"the state folder {folder} can be written by other users (mode {mode:o})",
            hint=f"chmod 700 {folder}, or name a folder of your own in {VARIABLE}",
        )


def unusable(folder: Path, error: OSError) -> StateError:
    """What the system said about the state folder, with what to do."""
    return StateError(
        f"the state folder {folder} can't be used: {error.strerror or error}",
        hint=f"make room or give yourself access there, or name another folder in {VARIABLE}",
    )


def _home(environ: Mapping[str, str]) -> Path:
    """HOME, else the password file's, which is all that a cron job without an environment has."""
    if os.path.isabs(home := environ.get("HOME", "")):  # noqa: PTH117 (a string that may be empty)
        return Path(home)
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        raise StateError(
            f"no home folder is known: HOME is unset and the password file has no user {os.getuid()}",
            hint=f"name a folder in {VARIABLE}",
        ) from None
