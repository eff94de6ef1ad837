"""Tells stories: `python -m tests.sim --hosts 20 --days 1 --seed 17`. One that fails is printed, and ends with 1.

`--until` plays a story up to that moment (`3:12:45` or `2d 3:12:45`) and prints all that happened until then.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.sim.play import Played, play
from tests.sim.story import Setting


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--hosts", type=int, default=20)
    parser.add_argument("--days", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, help="so many, from --seed on")
    parser.add_argument("--until", type=moment, default=float("inf"), help="play up to here, and print it all")
    parser.add_argument("--rough", type=float, default=1.0, help="so many times as many faults and commands")
    parser.add_argument("--quiet", action="store_true", help="say only what failed")
    asked = parser.parse_args()
    failed = 0
    for seed in range(asked.seed, asked.seed + asked.seeds):
        begun = time.process_time()
        played = play(Setting(seed, asked.hosts, asked.days, asked.until, asked.rough))
        failed += played.error is not None
        show(played, time.process_time() - begun, quiet=asked.quiet, all_of_it=asked.until < float("inf"))
    return 1 if failed else 0


def show(played: Played, cpu_s: float, *, quiet: bool, all_of_it: bool) -> None:
    if played.error is not None or all_of_it:
        sys.stdout.write(played.story())
    if not quiet:
        sys.stdout.write(f"seed {played.setting.seed}: {played.summary()} ({cpu_s:.1f} s of CPU)\n")
    sys.stdout.flush()


def moment(text: str) -> float:
    """`2d 3:12:45`, or a part of it, in seconds."""
    days, _, clock = text.rpartition("d")
    parts = [float(part) for part in clock.strip().split(":")]
    seconds = sum(part * 60**place for place, part in enumerate(reversed(parts)))
    return float(days or 0) * 86400.0 + seconds


if __name__ == "__main__":
    sys.exit(main())
