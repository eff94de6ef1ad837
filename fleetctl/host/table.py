"""The life of an instance as one table: events in, actions out. Synchronous, no clock, no descriptor, no process.

Read it top to bottom and you know what happens. `instance.py` carries the actions out under the same names.
"""

from . import protocol

# What an instance is in: the phases of protocol.py, and finer ones that only its host tells apart.
STARTING, READY, UNREADY = protocol.STARTING, protocol.READY, protocol.UNREADY
WAITING, STOPPING, STOPPED = protocol.WAITING, protocol.STOPPING, protocol.STOPPED
FAILED, STUCK = protocol.FAILED, protocol.STUCK
LAUNCHING = "launching"  # a shim was asked for, and the program was not seen yet
ABORTING = "aborting"  # it hangs: it was told to abort, and has a moment to leave a core or a trace
CLEARING = "clearing"  # the program ended by itself; what it left behind was asked to end
SWEEPING = "sweeping"  # ... and is killed
DRAINING = "draining"  # stopping on order: it was given notice and serves on
KILLING = "killing"  # stopping on order, the grace is over
JAMMED = "jammed"  # what it left behind can't be killed, so it is not started again

STATES = (
    LAUNCHING,
    STARTING,
    READY,
    UNREADY,
    ABORTING,
    CLEARING,
    SWEEPING,
    JAMMED,
    WAITING,
    DRAINING,
    STOPPING,
    KILLING,
    STUCK,
    STOPPED,
    FAILED,
)
EVENTS = {
    "stop": "someone ordered it",
    "launched": "the program runs: its record says so",
    "lost": "its shim came to nothing: there is no program",
    "left": "the program ended and left others of its tree behind",
    "exited": "the program ended, and its tree is empty",
    "unfit": "so did it, and starting it again is pointless",
    "ready": "the probes say so, or it ran for min_healthy",
    "unready": "the probes say so",
    "hung": "a watchdog says so: alive probe, heartbeat or progress",
    "drained": "the time between notice and signal is over",
    "grace": "the time to end by itself is over",
    "patience": "so is the time to die",
    "due": "the backoff is over",
}
SAME = ""

LIVE = (STARTING, READY, UNREADY)


def _but(*states: str):
    return tuple(state for state in STATES if state not in states)


ROWS = (
    # in                     event       next       do
    ((LAUNCHING,), "launched", STARTING, ("await_ready",)),
    ((LAUNCHING,), "lost", WAITING, ("count_exit", "back_off")),
    ((STARTING, UNREADY), "ready", READY, ("note_ready",)),
    ((READY,), "unready", UNREADY, ("note_unready",)),
    # It hangs: it is told to abort, then its tree is killed, then again.
    (LIVE, "hung", ABORTING, ("forget_ready", "note_hung", "abort_program", "arm_abort")),
    ((ABORTING,), "grace", SWEEPING, ("kill_tree", "arm_patience")),
    ((ABORTING,), "stop", STOPPING, ("give_notice", "note_stopping", "ask_tree", "arm_grace")),
    # It ended by itself: first its tree, then again.
    ((LAUNCHING, *LIVE, ABORTING), "left", CLEARING, ("forget_ready", "ask_tree", "arm_grace")),
    ((CLEARING,), "grace", SWEEPING, ("kill_tree", "arm_patience")),
    ((SWEEPING,), "patience", JAMMED, ("note_stuck",)),
    (
        (LAUNCHING, *LIVE, ABORTING, CLEARING, SWEEPING, JAMMED),
        "exited",
        WAITING,
        ("forget_ready", "disarm", "count_exit", "dismiss", "back_off"),
    ),
    (
        (LAUNCHING, *LIVE, ABORTING, CLEARING, SWEEPING, JAMMED),
        "unfit",
        FAILED,
        ("forget_ready", "disarm", "dismiss"),
    ),
    ((WAITING,), "due", LAUNCHING, ("launch",)),
    # It is to end.
    ((LAUNCHING,), "stop", STOPPING, ("give_notice", "note_stopping", "arm_grace")),  # asked as soon as it is seen
    (LIVE, "stop", DRAINING, ("forget_ready", "give_notice", "note_stopping", "arm_drain")),
    ((DRAINING,), "drained", STOPPING, ("note_stopping", "ask_tree", "arm_grace")),
    ((DRAINING,), "left", STOPPING, ("note_stopping", "ask_tree", "arm_grace")),  # it ended by itself: no more to serve
    ((CLEARING,), "stop", STOPPING, ("give_notice", "note_stopping", "arm_grace")),
    ((SWEEPING,), "stop", KILLING, ()),
    ((JAMMED,), "stop", STUCK, ()),
    ((WAITING, FAILED), "stop", STOPPED, ("disarm", "note_stopped")),
    ((STOPPING,), "launched", SAME, ("ask_tree",)),
    ((STOPPING,), "grace", KILLING, ("note_killing", "kill_tree", "arm_patience")),
    ((KILLING,), "launched", SAME, ("kill_tree",)),
    ((STUCK,), "launched", KILLING, ("kill_tree", "arm_patience")),  # what was asked for before it was stopped
    ((KILLING,), "patience", STUCK, ("note_stuck",)),
    ((STOPPING, KILLING, STUCK), "lost", STOPPED, ("disarm", "note_stopped")),
    ((DRAINING, STOPPING, KILLING, STUCK), "exited", STOPPED, ("disarm", "dismiss", "note_stopped")),
    ((DRAINING, STOPPING, KILLING, STUCK), "unfit", STOPPED, ("disarm", "dismiss", "note_stopped")),
)

# What changes nothing, said on purpose: a pair that stands neither here nor above is a hole, and a test looks for it.
IGNORED = (
    ((*LIVE, ABORTING, CLEARING, SWEEPING, JAMMED, DRAINING), "launched", "it is known to run, or to have ended"),
    ((*LIVE, ABORTING, CLEARING, SWEEPING, JAMMED, DRAINING), "lost", "the program outlives its shim"),
    ((CLEARING, SWEEPING, JAMMED, STOPPING, KILLING, STUCK), "left", "that is being seen to"),
    ((WAITING, STOPPED, FAILED), "launched", "an old record, read again"),
    ((WAITING, STOPPED, FAILED), "lost", "an old shim has left"),
    ((WAITING, STOPPED, FAILED), "left", "an old record, read again"),
    ((WAITING, STOPPED, FAILED), "exited", "an old record, read again"),
    ((WAITING, STOPPED, FAILED), "unfit", "an old record, read again"),
    ((DRAINING, STOPPING, KILLING, STUCK, STOPPED), "stop", "that is being done"),
    ((LAUNCHING, READY, ABORTING, CLEARING, SWEEPING, JAMMED), "ready", "nobody asked"),
    ((WAITING, DRAINING, STOPPING, KILLING, STUCK, STOPPED, FAILED), "ready", "nobody asked"),
    ((LAUNCHING, STARTING, UNREADY, ABORTING, CLEARING, SWEEPING, JAMMED), "unready", "it was not ready"),
    ((WAITING, DRAINING, STOPPING, KILLING, STUCK, STOPPED, FAILED), "unready", "it was not ready"),
    (_but(*LIVE), "hung", "it is not watched"),
    (_but(DRAINING), "drained", "a late timer"),
    (_but(ABORTING, CLEARING, STOPPING), "grace", "a late timer"),
    (_but(SWEEPING, KILLING), "patience", "a late timer"),
    (_but(WAITING), "due", "a late timer"),
)

TABLE = {
    (state, event): (following or state, actions) for states, event, following, actions in ROWS for state in states
}
QUIET = {(state, event): why for states, event, why in IGNORED for state in states}

PHASE = {
    LAUNCHING: STARTING,
    ABORTING: UNREADY,
    CLEARING: WAITING,
    SWEEPING: WAITING,
    JAMMED: STUCK,
    DRAINING: STOPPING,
    KILLING: STOPPING,
}
OVER = (STOPPED, FAILED)  # nothing of it runs, and nothing will without a new order
ENDING = (DRAINING, STOPPING, KILLING, STUCK)  # an order to stop is being carried out
KILLED = (SWEEPING, JAMMED, KILLING, STUCK)  # all that is left of it is being killed
ALIVE = (
    LAUNCHING,
    *LIVE,
    ABORTING,
    CLEARING,
    SWEEPING,
    JAMMED,
    DRAINING,
    STOPPING,
    KILLING,
    STUCK,
)  # something of it runs, or may


def step(state: str, event: str):
    """(the state after it, the actions to do) for an event in a state. What changes nothing gives no actions."""
    if (state, event) in TABLE:
        return TABLE[state, event]
    if (state, event) in QUIET:
        return state, ()
    raise KeyError("nothing says what %r means in %r" % (event, state))


def phase(state: str) -> str:
    """What the world is told."""
    return PHASE.get(state, state)


# Restarts

CRASHES, CRASH_WINDOW_S = 5, 600.0  # the alarm where the order names none: 5 in 10m
JITTER = 0.25
HOPELESS = 64  # so many failures in a row stand for a crash loop, until it is well again


def alarm(limits):
    """(so many ends, within so many seconds). Specs of older orders know none."""
    return int(limits.get("alarm_exits", CRASHES)), float(limits.get("alarm_s", CRASH_WINDOW_S))


def after_exit(failures: int, exits, now: float, ready_since, limits):
    """(failures in a row before this end, its newest ends with this one, whether that is a crash loop).

    A crash loop lasts until a run was ready for reset_s. `ready_since`: since when the run that ended had been ready,
    or None; `limits`: the `restart` of a SPEC.
    """
    if ready_since is not None and now - ready_since >= limits["reset_s"]:
        failures, exits = 0, []
    crashes, window_s = alarm(limits)
    recent = [*(at for at in exits if at > now - window_s), now][-crashes:]
    looping = failures >= HOPELESS or len(recent) >= crashes
    return max(failures, HOPELESS) if looping else failures, recent, looping


def pause_s(failures: int, looping: bool, chance: float, limits) -> float:
    """How long to wait before the start after so many failures in a row (0: the first), `chance` being from 0 to 1.

    In a crash loop it is the longest pause at once.
    """
    longest_s = limits["backoff_max_s"]
    plain = longest_s if looping else min(longest_s, limits["backoff_min_s"] * 2.0 ** min(failures, HOPELESS))
    return float(plain * (1 - JITTER + 2 * JITTER * chance))


class Readiness:
    """Counts a probe's answers and says `ready` or `unready` when they make up its mind, else nothing."""

    def __init__(self, successes: int, failures: int, grace_s: float, ready: bool) -> None:
        self.successes, self.failures, self.grace_s = successes, failures, grace_s
        self.ready = ready
        self.row = 0  # answers in a row that speak against what we think

    def hear(self, good: bool, age_s: float) -> str:
        if good == self.ready or (not good and age_s < self.grace_s):
            self.row = 0
            return ""
        self.row += 1
        if self.row < (self.successes if good else self.failures):
            return ""
        self.ready, self.row = good, 0
        return "ready" if good else "unready"
