"""Why one connection to a host failed, as an error: what `Unreachable` is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetctl.errors import HostError

if TYPE_CHECKING:
    from fleetctl.model.snapshot import Silence


class UnreachableError(HostError):
    """One try to open a link failed, in the layer that `silence` names."""

    def __init__(self, host: str, silence: Silence, message: str, *, hint: str = "") -> None:
        super().__init__(host, message, hint=hint)
        self.silence = silence
