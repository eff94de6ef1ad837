"""On the path of one command, this machine's clocks are off for it alone: by how many seconds its environment says.

`TEST_WALL_OFF_S` moves the time of day, `TEST_BOOTTIME_OFF_S` the time since boot; timers run as they do.
"""

import os
import time

WALL_OFF_S = float(os.environ.get("TEST_WALL_OFF_S", "0"))
BOOTTIME_OFF_S = float(os.environ.get("TEST_BOOTTIME_OFF_S", "0"))


def off(real, by):
    return lambda *arguments: real(*arguments) + by


def of_that_time(real):
    return lambda seconds=None: real(time.time() if seconds is None else seconds)


def clock_gettime(number, real=time.clock_gettime):
    return real(number) + {time.CLOCK_BOOTTIME: BOOTTIME_OFF_S, time.CLOCK_REALTIME: WALL_OFF_S}.get(number, 0.0)


time.clock_gettime = clock_gettime
time.time = off(time.time, WALL_OFF_S)
time.time_ns = off(time.time_ns, int(WALL_OFF_S * 1e9))
time.localtime = of_that_time(time.localtime)
time.gmtime = of_that_time(time.gmtime)
