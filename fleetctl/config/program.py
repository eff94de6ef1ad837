"""A job's artifact on this machine, and whether the command's program is in it. Reads names and modes, no content."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from typing import TYPE_CHECKING

from fleetctl.config.suggest import did_you_mean

if TYPE_CHECKING:
    from fleetctl.model.template import Text


def find_artifact(text: str, folder: Path) -> Path:
    """The file or folder that a playbook in `folder` names, as an absolute path. Raises ValueError."""
    path = Path(os.path.abspath(folder / Path(text).expanduser()))  # noqa: PTH100  (a link keeps its own name)
    if path.is_dir():
        if not any(path.iterdir()):
            raise ValueError(f"is an empty folder: {path}")
    elif not path.is_file():
        wrong = "is neither a file nor a folder" if path.exists() else "no such file or folder"
        raise ValueError(f"{wrong}: {path}{_also_there(path)}")
    return path


def check_program(program: Text, artifact: Path | None) -> None:
    """Raises ValueError where the command's first word is a path that the artifact has no program at.

    What has no slash is looked for on the host, and so is an absolute path: nothing is known of them here.
    """
    if not isinstance(program, str) or "/" not in program or program.startswith("/"):
        return
    inside = posixpath.normpath(program)
    if artifact is None:
        raise ValueError(f"{program} is taken from the artifact, and the job has none")
    if inside.startswith(".."):
        raise ValueError(f"{program} leads out of the artifact")
    if artifact.is_file():
        if inside != artifact.name:
            raise ValueError(f"{program} is not in the artifact: it is the one file ./{artifact.name}")
        path = artifact
    else:
        path = artifact / inside
        if not path.is_file():
            raise ValueError(f"{program} is no file of the artifact {artifact}{_also_there(path)}")
    if not os.access(path, os.X_OK):
        raise ValueError(f"{program} is not executable: chmod +x {path}")


def _also_there(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    return did_you_mean(path.name, names)
