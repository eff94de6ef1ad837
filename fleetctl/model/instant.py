"""Points in time, as deciding code compares them."""

from __future__ import annotations

from typing import NewType

Instant = NewType("Instant", float)  # seconds of CLOCK_BOOTTIME: counts while the machine sleeps, never jumps
