"""One qemu: its command line, its monitor (QMP), and its end. Knows nothing of what runs inside."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = "qemu-system-x86_64"
MORTAL = ("setpriv", "--pdeathsig", "KILL")  # it does not outlive the thread that starts it, however that ends
KERNEL = (
    "console=ttyS0 rw quiet net.ifnames=0 mitigations=off nokaslr audit=0 no_timer_check random.trust_cpu=on "
    "cryptomgr.notests"
)


class Qemu:
    """A qemu process. The guest's SSH answers at `port` of this machine's loopback."""

    def __init__(self, image: Path, disk: Path, folder: Path, *, throwaway: bool, state: Path | None = None) -> None:
        """On `disk`, to which nothing is written where it is `throwaway`; from `state` in place of a boot."""
        self.console = folder / "console"
        self._socket = folder / "qmp"
        self._socket.unlink(missing_ok=True)
        kind = "raw" if disk.suffix == ".img" else "qcow2"
        argv = [
            *MORTAL, PROGRAM, "-accel", "tcg,thread=multi,tb-size=256", "-m", "512", "-smp", "1", "-nodefaults",
            "-display", "none", "-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd"), "-append", KERNEL,
            "-drive", f"file={disk},if=virtio,format={kind},snapshot={'on' if throwaway else 'off'}",
            "-netdev", "user,id=n,hostfwd=tcp:127.0.0.1:0-:22", "-device", "virtio-net-pci,netdev=n,id=nic",
            "-device", "virtio-rng-pci", "-serial", f"file:{self.console}",
            "-qmp", f"unix:{self._socket},server=on,wait=off",
        ]  # fmt: skip
        if state:
            argv += ["-incoming", f"exec:cat {state}"]
        self._said = (folder / "qemu").open("a+")
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said)
        self._lines: IO[bytes] | None = None
        try:
            self._connect(60)
            forwarded = self.ask("human-monitor-command", **{"command-line": "info usernet"})
            (port,) = re.findall(r"HOST_FORWARD\D+\d+\s+127\.0\.0\.1\s+(\d+)", forwarded)
            self.port = int(port)
            if state:
                self.until("paused", 120)
                self.ask("cont")
        except BaseException:
            self.kill()
            raise

    def _connect(self, limit_s: float) -> None:
        end = time.monotonic() + limit_s
        while True:
            self.monitor = socket.socket(socket.AF_UNIX)
            self.monitor.settimeout(limit_s)
            try:
                self.monitor.connect(str(self._socket))
                break
            except OSError:
                self.monitor.close()
                if self.process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"qemu did not start: {self.said()}") from None
                time.sleep(0.02)
        self._lines = self.monitor.makefile("rb")
        self._lines.readline()  # its greeting
        self.ask("qmp_capabilities")

    def said(self) -> str:
        self._said.seek(0)
        return self._said.read()[-2000:]

    def ask(self, execute: str, **arguments: Any) -> Any:
        """What the monitor returned; RuntimeError where it refuses."""
        self.monitor.sendall(json.dumps({"execute": execute, "arguments": arguments}).encode() + b"\n")
        assert self._lines
        while line := self._lines.readline():  # events come between
            answer = json.loads(line)
            if "error" in answer:
                raise RuntimeError(f"qemu refused {execute}: {answer['error']}")
            if "return" in answer:
                return answer["return"]
        raise RuntimeError(f"qemu ended at {execute}: {self.said()}")

    def until(self, status: str, limit_s: float) -> None:
        end = time.monotonic() + limit_s
        while (now := self.ask("query-status")["status"]) != status:
            if time.monotonic() > end:
                raise AssertionError(f"not {status} within {limit_s} s but {now}: {self.said()}")
            time.sleep(0.02)

    def save(self, state: Path, limit_s: float = 300) -> None:
        """The whole machine as it is now, into `state`; it stands still from here on."""
        self.ask("stop")
        self.ask("migrate-set-parameters", **{"max-bandwidth": 4 << 30})
        self.ask("migrate", uri=f"exec:cat > {state}")
        end = time.monotonic() + limit_s
        while (now := self.ask("query-migrate")["status"]) != "completed":
            if now == "failed" or time.monotonic() > end:
                raise AssertionError(f"the state is not saved: {now}: {self.said()}")
            time.sleep(0.05)
        with suppress(RuntimeError):
            self.ask("quit")
        self.process.wait(30)

    def kill(self) -> None:
        """SIGKILL: for the guest, the power fails."""
        self.process.kill()
        self.process.wait(60)
        if self._lines:
            self._lines.close()  # a file over a socket keeps it open
        self.monitor.close()
        self._said.close()
