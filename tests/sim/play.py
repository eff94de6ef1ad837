"""Plays one story to its end, and keeps what is to be told of it."""

from __future__ import annotations

import gc
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path

from tests.sim.story import Setting, Story
from tests.unit.engine.virtual import run_virtually

MEMORY_DISK = Path("/dev/shm")


@dataclass(frozen=True)
class Played:
    setting: Setting
    log: tuple[tuple[float, str], ...]
    error: BaseException | None
    counted: str

    def story(self) -> str:
        """What happened, dated; how it ended; how to see it again."""
        lines = [f"{dated(at)}  {text}" for at, text in self.log]
        if self.error is not None:
            lines += ["", f"seed {self.setting.seed} fails: {type(self.error).__name__}: {self.error}"]
            if not isinstance(self.error, AssertionError):
                lines += ["".join(traceback.format_exception(self.error))]
            until = dated(self.log[-1][0] + 1.0) if self.log else "0:00:01"
            lines += ["see it again:", f"  {self.setting.command} --until '{until}'"]
        return "\n".join(lines) + "\n"

    def summary(self) -> str:
        return f"{'failed' if self.error else 'well'}: {self.counted}"


def play(setting: Setting) -> Played:
    gc.set_threshold(100_000, 20, 50)  # a story makes little garbage of the kind it looks for: a tenth of all time
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK if MEMORY_DISK.is_dir() else None) as folder:
        story = Story(setting, Path(folder))
        error: BaseException | None = None
        try:
            run_virtually(story.tell())
        except TimeoutError as late:
            error = None if setting.until_s < float("inf") else late
        except Exception as broken:  # noqa: BLE001 - told with its story
            error = broken
        observer = story.observer
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(story.reasons.items()))
        counted = (
            f"{story.runs} runs ({story.killed} killed, {story.frozen} stopped for a while), {story.sweeps} sweeps, "
            f"{story.faults.count} faults, {observer.starts} starts, {observer.stops} stops of what served "
            f"({observer.stops_first} of an only instance), {story.replans} replanned; left: {reasons or 'nothing'}"
        )
        return Played(setting, tuple(story.world.log), error, counted)


def dated(at: float) -> str:
    days, rest = divmod(at, 86400.0)
    return f"{int(days)}d {int(rest // 3600):02}:{int(rest % 3600 // 60):02}:{int(rest % 60):02}"
