"""The control groups of the programs: one for each run, with its limits in it before anything is executed.

Where none can be had a start goes on without, and its instance says so and why: `advisory`. Nothing here fails a start.
"""

import os
import time

from . import files, group, places, proc, rows, shim, table
from .errands import Errand
from .loop import Timer

PLACE_WAIT_S = 20.0  # of a start, for the place to be known: systemd of a machine that boots is slow to answer
SEARCH_PAUSE_S = 60.0  # between two looks for a place that find none
CPU_PERIOD_US = 100000
INSTEAD = "instead its processes are the first to go when memory runs out (oom_score_adj +500), and no more"


class Limits:
    """The place of a root's control groups, and the groups in it."""

    def __init__(self, agent) -> None:
        self.agent, self.loop = agent, agent.loop
        self.place = places.nowhere("it is being looked for")
        self.known = False
        self.searching = False
        self.searched_at = -SEARCH_PAUSE_S
        self.waiting: "list[object]" = []
        self.patience = Timer()

    @property
    def said(self) -> str:
        """The `limits` of a report's facts."""
        return said(self.place)

    def begin(self) -> None:
        why = places.pointless()
        if why:
            self.found(places.nowhere(why), "")
        else:
            self.search()

    # The place

    def search(self) -> None:
        self.known, self.searching, self.searched_at = False, True, time.monotonic()
        self.patience = self.loop.after(PLACE_WAIT_S, self.go_on)
        root, boot = self.agent.root, self.agent.boot
        Errand(self.loop, lambda: places.find(root, remembered(root, boot)), self.found, places.FIND_WAIT_S)

    def found(self, place, error: str) -> None:
        self.searching = False
        self.place = place if place is not None else places.nowhere(error)
        if self.place["folder"]:
            self.searched_at = -SEARCH_PAUSE_S  # should it get lost, it is looked for at once
        try:
            files.replace_json(place_file(self.agent.root), dict(self.place, boot=self.agent.boot), durable=False)
        except OSError:
            pass  # the next agent looks for it again
        self.agent.say("limits: %s" % self.said)
        self.tidy()
        self.go_on()

    def go_on(self) -> None:
        """Starts that wait do so no longer."""
        self.patience.cancel()
        self.known = True
        waiting, self.waiting = self.waiting, []
        for call in waiting:
            self.loop.guarded(call)

    def when_known(self, call) -> None:
        """`call()` when the place is known, or after PLACE_WAIT_S; at once, as a rule."""
        folder = self.place["folder"]
        if self.known and not self.searching and not os.path.isdir(folder):
            if folder:
                self.place = places.nowhere("%s is gone" % folder)
            if not places.pointless() and time.monotonic() - self.searched_at > SEARCH_PAUSE_S:
                self.search()
        if self.known:
            call()
        else:
            self.waiting.append(call)

    def tidy(self) -> None:
        """Remove what earlier agents left: groups that are of no instance's run, and in which nobody is."""
        for name in group_names(self.place["folder"]):
            found = self.agent.find(name.rpartition(".")[0])
            if found is None or found.state not in table.ALIVE or not found.cgroup.endswith("/" + name):
                places.remove(os.path.join(self.place["folder"], name))

    # The groups

    def make(self, instance) -> None:
        """A new group for the run that is about to start; `instance.cgroup` is its folder, or "" where it has none."""
        self.release(instance)
        instance.cgroup = ""
        instance.status["limits"] = self.said
        folder = self.place["folder"]
        if not folder:
            return
        made = os.path.join(folder, "%s.%d" % (instance.name, instance.status["run"]))
        try:
            places.remove(made)
            os.mkdir(made)
            bound = bind(made, instance.spec["resources"], self.place["controllers"])
        except OSError as error:
            places.remove(made)
            instance.status["limits"] = advisory("%s: %s" % (made, error.strerror))
            return
        instance.cgroup = made
        if self.place["controllers"]:
            instance.status["limits"] = bound

    def look_inside(self, instance) -> None:
        """The program runs: is it where it belongs?"""
        if instance.cgroup:
            path = places.group_of(instance.status["pid"] or 0)
            if path and not path.endswith("/" + os.path.basename(instance.cgroup)):
                instance.status["limits"] = advisory("it could not be put into its control group")

    def release(self, instance) -> None:
        """Nothing of the instance runs: its groups go."""
        if instance.cgroup:
            if not places.remove(instance.cgroup):  # see tidy
                self.agent.say("%s is not empty, and stays" % instance.cgroup)
            instance.cgroup = ""


def group_names(folder: str):
    """The groups of runs in a place."""
    try:
        return [name for name in os.listdir(folder) if "@" in name] if folder else []
    except OSError:
        return []


def group_of_launch(launch: shim.Launch) -> str:
    return os.fsdecode(launch.groups[0][0]) if launch.groups else ""


def members(cgroup: str):
    """[(pid, start)] of what runs in a group."""
    return [found for found in group.members(os.fsencode(cgroup)) if not proc.ended(*found)] if cgroup else []


# What is told


def place_file(root: str) -> str:
    return os.path.join(root, "place.json")


def remembered(root: str, boot: str):
    """What an earlier agent of this boot found, or nothing."""
    known = files.read_json(place_file(root), {})
    return known if known.get("boot") == boot and places.nowhere("").keys() <= known.keys() else {}


def said_before(root: str, boot: str) -> str:
    """The `limits` of a host on which no agent runs."""
    return said(remembered(root, boot) or places.nowhere("no agent looked for control groups since the boot"))


def advisory(why: str) -> str:
    return "advisory: %s; %s" % (why, INSTEAD)


def said(place) -> str:
    """The `limits` of a host with that place."""
    if not place["controllers"]:
        return advisory(place["why"])
    return "cgroup" if not place["why"] else "cgroup; %s" % place["why"]


def size(count: int) -> str:
    return "%.1f MiB" % (count / 1048576.0)


# Writing limits


def bind(folder: str, resources, controllers) -> str:
    """Put the limits of a SPEC's `resources` into a new group. What binds it, for people."""
    done, missing = [], []
    for controller, key, put in (
        ("memory", "memory_bytes", bind_memory),
        ("cpu", "cpu_milli", bind_cpu),
        ("pids", "pids", bind_pids),
    ):
        claim = resources.get(key, 0)
        if claim and controller in controllers:
            done.append(put(folder, claim))
        elif claim:
            missing.append(controller)
    text = "cgroup: " + (", ".join(done) or "nothing claimed")
    return text + "; no controller here for %s" % ", ".join(missing) if missing else text


def bind_memory(folder: str, claim: int) -> str:
    places.write(folder, "memory.max", str(claim))
    text = "memory " + size(claim)
    try:
        places.write(folder, "memory.oom.group", "1")  # from Linux 4.19
        places.write(folder, "memory.swap.max", "0")
    except OSError:
        return text  # a kernel that does not account for swap
    return text + ", no swap"


def bind_cpu(folder: str, claim: int) -> str:
    """A share of each 100 ms, and when all want more than there is, a weight in proportion: 100 is one CPU."""
    quota_us = max(1000, claim * CPU_PERIOD_US // 1000)
    places.write(folder, "cpu.max", "%d %d" % (quota_us, CPU_PERIOD_US))
    places.write(folder, "cpu.weight", str(min(10000, max(1, claim // 10))))
    return "cpu %g" % (claim / 1000.0)


def bind_pids(folder: str, claim: int) -> str:
    places.write(folder, "pids.max", str(claim))
    return "pids %d" % claim


# What happened in a group


def events(folder: str):
    """{"oom": times its limit was hit and nothing could be freed, "oom_kill": of its processes killed, "max": forks
    refused}: since it was made, which is since its run began."""
    found = {"oom": 0, "oom_kill": 0, "max": 0}
    for name, keys in (("memory.events", ("oom", "oom_kill")), ("pids.events", ("max",))):
        given = places.words(folder, name)
        for key, value in zip(given[::2], given[1::2]):
            if key in keys:
                found[key] = int(value)
    return found


def why_killed(resources, counts) -> str:
    """Whose memory was short when the kernel killed in the group; "" where it did not."""
    if not counts["oom_kill"]:
        return ""
    if counts["oom"] and resources.get("memory_bytes", 0):
        return "limit " + size(resources["memory_bytes"])
    return "the machine has no more"


def note_events(instance) -> str:
    """Tell the story of what the group's counters say, once a run. Gives why_killed."""
    if not instance.cgroup:
        return ""
    counts, resources = events(instance.cgroup), instance.spec["resources"]
    why = why_killed(resources, counts)
    if why:
        tell_once(instance.status, "killed: out of memory (%s)" % why)
    if counts["max"]:
        text = "it reached its limit of %d processes" % resources.get("pids", 0)
        tell_once(instance.status, text)
        instance.status["note"] = instance.status["note"] or text
    return why


def tell_once(status, what: str) -> None:
    if (status["run"], what) not in [(event["run"], event["what"]) for event in status["story"]]:
        rows.tell(status, what)


def told(instance, ended: str) -> str:
    """How the run ended, with what the kernel did to it."""
    why = note_events(instance)
    return "%s (out of memory: %s)" % (ended, why) if why and ended.startswith("killed by SIGKILL") else ended
