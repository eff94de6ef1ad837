"""What the virtual machine is made of: a Debian 12 disk with root and the plain user `ops`, a kernel and an initrd.

Needs root and mmdebstrap. What slows a boot without KVM and no test looks at is left out or masked.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

SUITE = "bookworm"
PACKAGES = (
    "linux-image-cloud-amd64", "systemd", "systemd-sysv", "dbus", "libpam-systemd", "openssh-server", "python3",
    "iproute2", "kmod", "cron", "dmsetup", "e2fsprogs", "fuse3", "busybox-static",
)  # fmt: skip
LEFT_OUT = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/perl", "usr/lib/x86_64-linux-gnu/perl")
MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dev-hugepages.mount", "dev-mqueue.mount", "dpkg-db-backup.timer",
    "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer", "getty@tty1.service", "kmod-static-nodes.service",
    "modprobe@.service", "serial-getty@ttyS0.service", "sys-fs-fuse-connections.mount", "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount", "systemd-binfmt.service", "systemd-modules-load.service",
    "systemd-network-generator.service", "systemd-sysusers.service", "systemd-udev-trigger.service",
    "systemd-update-utmp.service",
)  # fmt: skip
MODULES = (
    "virtio", "virtio_ring", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk", "failover",
    "net_failover", "virtio_net",
)  # fmt: skip
DISK_BYTES = 2 << 30  # sparse
NETWORK = """\
[Unit]
DefaultDependencies=no
After=local-fs.target
Before=network.target network-online.target ssh.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'ip link set lo up; ip link set eth0 up; ip address replace 10.0.2.15/24 dev eth0; \
ip route replace default via 10.0.2.2'
[Install]
WantedBy=multi-user.target network-online.target
"""
INIT = """\
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
for module in {modules}; do
    if [ -e /$module.ko ]; then /bin/busybox insmod /$module.ko; fi
done
while ! [ -b /dev/vda ]; do /bin/busybox usleep 20000; done
/bin/busybox mount -t ext4 -o rw /dev/vda /root
/bin/busybox mount --move /dev /root/dev
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /sbin/init
"""


def make(folder: Path) -> None:
    """Into `folder`: vm.img, vmlinuz, initrd, id_ed25519 (+ .pub) and host_key.pub."""
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "fleetctl-test-vm", "-f", str(folder / "id_ed25519"))
    root = folder / "root"
    try:
        install(root)
        settle(root, (folder / "id_ed25519.pub").read_text())
        boot_files(root, folder)
        shutil.copy(root / "etc/ssh/ssh_host_ed25519_key.pub", folder / "host_key.pub")
        lighten(root)
        disk = folder / "vm.img"
        with disk.open("wb") as file:
            file.truncate(DISK_BYTES)
        run("mkfs.ext4", "-q", "-F", "-d", str(root), "-L", "root", str(disk))
    finally:
        shutil.rmtree(root, ignore_errors=True)


def run(*argv: str, timeout_s: float = 900, cwd: Path | None = None) -> str:
    """What `argv` printed; another exit than 0 raises, with the end of all it said."""
    environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "LC_ALL": "C"}
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=timeout_s, env=environment, cwd=cwd, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)[:200]}: exit {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def install(root: Path) -> None:
    """Debian from the mirror, and through the proxy, that this machine's apt uses."""
    settings = [
        f"--aptopt={line}"
        for line in run("apt-config", "dump").splitlines()
        if line.startswith(("Acquire::http", "Acquire::https", "Acquire::Check-")) and not line.endswith('"";')
    ]
    targets = run(
        "apt-get", "indextargets", "--format", "$(REPO_URI)",
        "Created-By: Packages", f"Codename: {SUITE}", "Origin: Debian",
    ).split()  # fmt: skip
    run(
        "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={','.join(PACKAGES)}", *settings,
        SUITE, str(root), *targets[:1],
    )  # fmt: skip


def settle(root: Path, key: str) -> None:
    """Its users, network and SSH, and what does not start in it."""

    def write(path: str, content: str, mode: int = 0o644) -> None:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        file.chmod(mode)

    def inside(*argv: str) -> None:
        run("chroot", str(root), *argv)

    inside("useradd", "--create-home", "--uid", "1000", "--user-group", "--shell", "/bin/bash", "ops")
    for home, owner in (("root", 0), ("home/ops", 1000)):
        write(f"{home}/.ssh/authorized_keys", key, 0o600)
        (root / home / ".ssh").chmod(0o700)
        for path in (root / home / ".ssh", root / home / ".ssh/authorized_keys"):
            os.chown(path, owner, owner)
    write("etc/fstab", "")
    write("etc/hostname", "vm\n")
    write("etc/hosts", "127.0.0.1 localhost\n")
    write("etc/systemd/system/test-network.service", NETWORK)
    write(
        "etc/ssh/sshd_config.d/test.conf",
        "HostKey /etc/ssh/ssh_host_ed25519_key\nUseDNS no\nMaxSessions 200\nMaxStartups 200\nPrintMotd no\n",
    )
    for old in (root / "etc/ssh").glob("ssh_host_*"):
        old.unlink()
    inside("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/etc/ssh/ssh_host_ed25519_key")
    inside("systemctl", "enable", "-q", "test-network.service", "ssh.service")
    for unit in MASKED:
        link = root / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    (root / "etc/machine-id").unlink(missing_ok=True)
    inside("systemd-machine-id-setup")


def boot_files(root: Path, folder: Path) -> None:
    """The kernel, and an initrd of busybox and the modules that reach the disk and the network."""
    (kernel,) = (root / "boot").glob("vmlinuz-*")
    shutil.copy(kernel, folder / "vmlinuz")
    tree = root / "initrd"
    for name in ("bin", "dev", "proc", "root"):
        (tree / name).mkdir(parents=True)
    shutil.copy(root / "bin/busybox", tree / "bin/busybox")
    for path in (root / "lib/modules").rglob("*.ko"):
        if path.stem.replace("-", "_") in MODULES:
            shutil.copy(path, tree / f"{path.stem.replace('-', '_')}.ko")
    (tree / "init").write_text(INIT.format(modules=" ".join(MODULES)))
    (tree / "init").chmod(0o755)
    script = "cd /initrd && /bin/busybox find . | /bin/busybox cpio -o -H newc 2>/dev/null > /initrd.cpio"
    run("chroot", str(root), "/bin/sh", "-c", script)
    shutil.move(root / "initrd.cpio", folder / "initrd")
    shutil.rmtree(tree)


def lighten(root: Path) -> None:
    for path in (root / "boot").iterdir():
        path.unlink()
    for name in LEFT_OUT:
        shutil.rmtree(root / name, ignore_errors=True)


if __name__ == "__main__":  # as root, for the user whose folder it is
    into = Path(sys.argv[1])
    make(into)
    owner = into.stat()
    for made in into.iterdir():
        os.chown(made, owner.st_uid, owner.st_gid)
