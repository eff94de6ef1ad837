"""Files of a test's own, and what loading them says."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

from fleetctl.config.inventory import load_inventory
from fleetctl.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


class Files:
    """A folder to write files into. Errors are told as seen from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def program(self, name: str) -> Path:
        path = self.write(name, "#!/bin/sh\n")
        path.chmod(0o755)
        return path

    def inventory(self, text: str, name: str = "prod.yml"):
        return load_inventory(self.write(name, text))

    def refused(self, work, *argv) -> list[str]:
        """What an error said that `work` must raise, line by line."""
        with pytest.raises(UsageError) as caught:
            work(*argv)
        return caught.value.message.replace(f"{self.folder}/", "").splitlines()

    def refused_inventory(self, text: str, name: str = "prod.yml") -> list[str]:
        return self.refused(load_inventory, self.write(name, text))


@pytest.fixture
def files(tmp_path) -> Files:
    return Files(tmp_path)
