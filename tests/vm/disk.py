"""A disk in the machine that can hang and break, with real kernel lines about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.vm.machine import Machine


class Disk:
    """ext4 on a device-mapper disk over a loop device."""

    def __init__(self, machine: Machine, mount: str, megabytes: int) -> None:
        self.machine, self.mount = machine, mount
        self.name = mount.strip("/").replace("/", "-")
        self.device = f"/dev/mapper/{self.name}"
        self._image = f"/var/tmp/{self.name}.img"
        machine.run(f"modprobe -a loop dm_mod && rm -f {self._image} && truncate -s {megabytes}M {self._image}")
        self._loop = machine.run(["losetup", "-f", "--show", self._image])
        self._sectors = megabytes * 2048
        self._dm("create", "--table", self._table("linear"))
        machine.run(
            f"dmsetup mknodes && mkfs.ext4 -q {self.device} && mkdir -p {mount} "
            f"&& mount -o errors=remount-ro {self.device} {mount}"
        )

    def _table(self, kind: str) -> str:
        return f"0 {self._sectors} {kind}" + (f" {self._loop} 0" if kind == "linear" else "")

    def _dm(self, verb: str, *arguments: str) -> None:
        self.machine.run(["dmsetup", verb, self.name, "--noudevsync", *arguments])

    def suspend(self) -> None:
        """It hangs: whoever reads what is not in memory, or writes for sure, waits."""
        self._dm("suspend", "--nolockfs", "--noflush")
        self.machine.run("echo 3 > /proc/sys/vm/drop_caches")

    def freeze(self) -> None:
        """The file system is frozen: whoever writes anything waits."""
        self._dm("suspend")

    def resume(self) -> None:
        self._dm("resume")

    def fail(self) -> None:
        """Every access is an I/O error, with the kernel's own lines about it."""
        self._swap("error")

    def heal(self) -> None:
        """It works again; what the file system thinks of it is for e2fsck."""
        self._swap("linear")

    def _swap(self, kind: str) -> None:
        self._dm("suspend", "--nolockfs", "--noflush")
        self.machine.run(["dmsetup", "load", self.name, "--noudevsync", "--table", self._table(kind)])
        self._dm("resume")
        self.machine.run("echo 3 > /proc/sys/vm/drop_caches")

    def remove(self) -> None:
        self.machine.run(
            f"umount -l {self.mount}; dmsetup remove --noudevsync --force {self.name}; losetup -d {self._loop}; "
            f"rm -f {self._image}"
        )
