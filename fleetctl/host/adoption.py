"""What an agent does with the instances it finds: goes on where the one before it was killed.

First the records are read, then anything is believed: of another boot, nothing is.
"""

import os

from . import doubts, files, limits, proc, records, rows, shim, table
from .instance import AGAIN_S, said
from .loop import boottime
from .orphans import BORN_WAIT_S


def adopt(instance) -> None:
    """Go on where the agent before this one was killed. Again, where that fails for want of descriptors or memory."""
    try:
        find(instance)
    except OSError as error:
        instance.agent.say("%s can't be adopted yet: %s" % (instance.name, error))
        instance.loop.after(AGAIN_S, lambda: adopt(instance))


def find(instance) -> None:
    """What there is of it; begin anew where the boot is another."""
    instance.status = rows.read_status(os.path.join(instance.folder, "status.json"))
    launched = last_launch(instance)
    known = records.runs(os.path.join(instance.folder, "exit"))
    instance.status["run"] = max(instance.status["run"], launched.run, *known)
    if launched.run == instance.status["run"]:
        instance.cgroup = limits.group_of_launch(launched)
    record = records.read(instance.record_path())
    if record is not None and record.boot == instance.agent.boot:
        take_up(instance, record)
    elif instance.status["run"] == 0:
        nothing_runs(instance)
    elif instance.status["boot"] != instance.agent.boot:
        void(instance, record)
    elif instance.state in table.ALIVE and instance.shim_lives():
        await_record(instance)
    else:
        nothing_runs(instance)
    instance.save()


def await_record(instance) -> None:
    """A shim lives, and its record is about to appear."""
    resume(instance, table.LAUNCHING)
    instance.log.open(instance.status["run"])
    instance.notify.take_up()
    instance.orphan_timer = instance.loop.after(BORN_WAIT_S, instance.look_for_shim)


def last_launch(instance) -> shim.Launch:
    try:
        with open(os.path.join(instance.folder, "launch"), "rb") as file:
            return shim.Launch(file.read())
    except (FileNotFoundError, ValueError):
        return shim.Launch(b"")


def resume(instance, state: str) -> None:
    instance.status["state"] = state


def void(instance, record) -> None:
    """Its records are of another boot: nothing of it runs, and no pid in them means anything."""
    ran = instance.state in table.ALIVE
    how = "in good order" if instance.agent.doubts.in_order else "without having been shut down"
    rows.tell(instance.status, "the host was started again, %s" % how)
    instance.status.update(boot=instance.agent.boot, pid=None, ready_since=None, was_ready_since=None)
    instance.status.update(failures=0, exits=[], due=None, stuck=[], seen=instance.status["run"])
    if ran and (record is None or record.ended == records.PENDING):
        instance.status["last_exit"] = "unknown (the host was started again)"
    elif ran:
        instance.status["last_exit"] = said(record.ended)
    if instance.order["wanted"] == "stop":
        resume(instance, table.STOPPED)
    else:
        instance.status["problem"] = None
        wait_for_due(instance, 0.0, "the host was started again")


def nothing_runs(instance) -> None:
    """There is no program: it was waiting, or had come to nothing, or systemd alone was stopped (see going_down.py)."""
    if instance.order["wanted"] == "stop":
        unseen = not instance.withdraw() and instance.state in table.ALIVE
        if unseen:
            await_record(instance)
            instance.feed("stop")
        else:
            resume(instance, table.STOPPED)
    elif instance.state != table.FAILED:
        rest = (instance.status["due"] or 0) - boottime() if instance.state == table.WAITING else 0
        instance.status["boot"] = instance.agent.boot
        stopped = instance.state == table.STOPPED
        note = "systemd was started again" if stopped else instance.status["note"]
        wait_for_due(instance, min(rest, instance.spec["restart"]["backoff_max_s"] * 2), note)


def wait_for_due(instance, rest_s: float, note: str) -> None:
    """It is started again after that time. What an ending run was told is over."""
    resume(instance, table.WAITING)
    files.forget(os.path.join(instance.folder, "notice"))
    instance.status["note"] = note
    doubts.start_when_sound(instance, rest_s)


def take_up(instance, record) -> None:
    """There is a record of this boot: the program runs, or ended while no agent looked."""
    instance.record = record
    if instance.status["boot"] != instance.agent.boot:  # it could not be written, or was lost
        instance.status.update(boot=instance.agent.boot, state=table.LAUNCHING, pid=None, seen=0)
    seen = record.ended != records.PENDING and instance.status["seen"] == instance.status["run"]
    if seen and instance.state not in table.ALIVE:  # all was noted; its shim may not have been told
        nothing_runs(instance)
        if proc.lives(record.shim, record.shim_start):
            instance.log.open(instance.status["run"])
            instance.dismiss()
        return
    instance.log.open(instance.status["run"])
    instance.notify.take_up()
    if not record.pid and record.ended == records.PENDING:
        resume(instance, table.LAUNCHING)
        instance.watch_process(record.shim, record.shim_start)
    else:
        take_up_program(instance, record)
    if instance.order["wanted"] == "stop" and instance.state not in table.ENDING:
        instance.feed("stop")


def take_up_program(instance, record) -> None:
    if instance.state not in table.ALIVE or instance.status["pid"] != record.pid:
        resume(instance, table.LAUNCHING)
        instance.status["pid"] = None
    if not proc.ended(record.shim, record.shim_start):
        instance.watch_process(record.shim, record.shim_start)
    else:
        instance.become_orphan()
    if instance.state in table.LIVE:
        instance.await_ready()
    elif instance.state == table.ABORTING:
        instance.arm_abort()
    elif instance.state == table.CLEARING:
        instance.arm_grace()
    elif instance.state == table.DRAINING:
        since = instance.status["stopping_since"]
        instance.arm(since + rows.drain_s(instance.spec) - boottime(), "drained")
    elif instance.state == table.STOPPING:
        instance.ask_tree()
        end = instance.status["stopping_since"] + instance.spec["stop"]["timeout_s"]
        instance.arm(max(end, instance.status["extended"]) - boottime(), "grace")
    elif instance.state in (table.SWEEPING, table.JAMMED, table.KILLING, table.STUCK):
        instance.kill_tree()
        instance.arm_patience()
    instance.refresh()
