"""Answers for a host on which no agent runs, from the files and /proc alone. Writes nothing, starts nothing."""

import os

from . import agent, comeback, files, limits, link, log_files, log_reading, proc, records, report, requests, rows, table
from .guard import Guard
from .loop import Loop
from .protocol import PROTOCOL
from .reach import Reach


class Look:
    def __init__(self, root: str, version: str, digest: str) -> None:
        self.root = root
        self.loop = Loop()
        self.program = {"version": version, "digest": digest, "protocol": PROTOCOL}
        self.boot = proc.boot()
        self.guard = Guard(root)
        self.reach = Reach(os.path.join(root, "reach.json"))

    def serve(self, incoming: int, outgoing: int, address: str) -> None:
        """Until either side ends."""
        channel = link.Channel(self.loop, incoming, outgoing, self.handle, self.gone)
        channel.address = address
        self.loop.run()

    def handle(self, channel, request) -> None:
        requests.handle(self, channel, request, requests.LOOK_VERBS)

    def gone(self, _channel) -> None:
        self.loop.ended = True

    def find(self, name: str):
        folder = os.path.join(self.root, "instances", name)
        order = agent.read_order(folder)
        return Seen(name, folder, order, self.boot) if order is not None else None

    def report(self, address: str):
        try:
            names = sorted(os.listdir(os.path.join(self.root, "instances")))
        except OSError:
            names = []
        found = [self.find(name) for name in names if requests.INSTANCE.fullmatch(name)]
        listed = [instance.row() for instance in found if instance is not None]
        notes = ["no agent runs on this host: this is what its files say"]
        notes += self.guard.notes()
        seen = report.seen_on_disk(self.root)
        arranged = files.read_json(os.path.join(self.root, comeback.ARRANGED_NAME), {})
        seen["facts"]["boot"] = str(arranged.get("how", "none: nothing was arranged"))
        seen["facts"]["limits"] = limits.said_before(self.root, self.boot)
        return report.assemble(seen, self.guard, listed, self.reach, address, self.program, self.boot, notes)


class Seen:
    """An instance as its files show it, its process as /proc does."""

    def __init__(self, name: str, folder: str, order, boot: str) -> None:
        self.name, self.folder, self.order = name, folder, order
        self.status = rows.read_status(os.path.join(folder, "status.json"))
        self.has_said_all = self.status["state"] not in table.ALIVE  # the last of it was read before that was written
        runs = records.runs(os.path.join(folder, "exit"))
        record = records.read(os.path.join(folder, "exit", str(runs[-1]))) if runs else None
        if record is not None and record.boot == boot and proc.lives(record.pid, record.start):
            self.see_running(record)
        elif self.status["state"] in table.ALIVE or self.rests():
            self.see_ended(record, boot)

    def rests(self) -> bool:
        """It was stopped because the machine went down: an agent will start it."""
        return bool(self.status["state"] == table.STOPPED and self.order["wanted"] == "run")

    def see_running(self, record) -> None:
        if self.status["state"] not in table.ALIVE or self.status["run"] != record.run:
            self.status["state"] = table.STARTING
        self.status.update(pid=record.pid, run=record.run)

    def see_ended(self, record, boot: str) -> None:
        self.status.update(pid=None, ready_since=None, note="no agent runs that would start it again")
        self.status["state"] = table.STOPPING if self.order["wanted"] == "stop" else table.WAITING
        if record is not None and record.boot == boot and record.ended != records.PENDING:
            self.status["last_exit"] = record.ended
        else:
            self.status["last_exit"] = "unknown"

    def row(self):
        return rows.row(self.name, self.order, self.status, log_files.dropped_bytes(os.path.join(self.folder, "log")))

    def last_lines(self, lines: int):
        return log_reading.tail(os.path.join(self.folder, "log"), lines)

    def read_log(self, lines: int, run: int, since: float, after):
        folder = os.path.join(self.folder, "log")
        return log_reading.read(folder, lines, run, since, after, self.status["run"], self.has_said_all)
