"""What one run needs to get onto hosts: keys, known hosts, algorithms and the gates that bound how many at once.

Everything is parsed once, on first use, and kept for the run; so are the connections to jump hosts.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh

from fleetctl.errors import FleetctlError
from fleetctl.ssh.jumps import Jumps

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from fleetctl.model.host import HostSpec

LOGINS_MAX = 10  # 100 at once block the event loop for 600 ms and sshd's MaxStartups drops the rest; ten take 25 ms
SLOW_LOGIN_S = (
    2.0  # a login that takes longer hangs: it gives its place to the next, so that ten of them hold up nobody
)
UPLOADS_MAX = 8  # uploads side by side: more only share the same uplink

KEX = (
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group14-sha256",
)  # no group-exchange: 0.9 s of CPU a connection
CIPHERS = (
    "aes128-gcm@openssh.com",  # the fastest where the processor knows AES
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
)
HOST_KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)

_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
_SYSTEM_KNOWN_HOSTS = (Path("/etc/ssh/ssh_known_hosts"), Path("/etc/ssh/ssh_known_hosts2"))


class AccessError(FleetctlError):
    """A key or known_hosts file that the inventory names can't be used."""


@dataclass(frozen=True, slots=True)
class Login:
    """What to offer a host: our keys, and the socket of an agent that may hold more."""

    keys: tuple[asyncssh.SSHKey, ...]
    agent: str | None
    locked: tuple[Path, ...]  # keys that exist but are encrypted, so that only the agent could offer them


@dataclass(frozen=True, slots=True)
class KnownHosts:
    """Parsed known_hosts files. New keys would be written to the first of `files`."""

    files: tuple[Path, ...]
    parsed: asyncssh.SSHKnownHosts

    def keys_of(self, host: HostSpec, peer: str) -> tuple[asyncssh.SSHKey, ...]:
        """The keys under which we know `host`, by the name we call it or the address `peer` that it has."""
        return tuple(dict.fromkeys(self._match(host, peer)[0]))

    def key_types(self, host: HostSpec, peer: str) -> list[str]:
        """Host key algorithms to ask for: those we know first, so that a host with several shows one we can check."""
        known, authorities, *_ = self._match(host, peer)
        ours = [name.decode("ascii") for key in known for name in key.sig_algorithms]
        certificates = [f"{name}-cert-v01@openssh.com" for name in HOST_KEY_TYPES] if authorities else []
        return list(dict.fromkeys([*certificates, *(name for name in ours if name in HOST_KEY_TYPES), *HOST_KEY_TYPES]))

    def _match(self, host: HostSpec, peer: str) -> Sequence[Any]:
        return self.parsed.match(host.address, peer, None if host.port == 22 else host.port)


@dataclass(frozen=True, slots=True)
class _KeyFile:
    key: asyncssh.SSHKey | None  # absent: encrypted


@dataclass(slots=True)
class Access:
    """Make one for a run, inside its event loop, and hand it to every connection of that run. Close it after them."""

    _keys: dict[Path, _KeyFile] = field(default_factory=dict)
    _known_hosts: dict[Path | None, KnownHosts] = field(default_factory=dict)
    _logins: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LOGINS_MAX))
    uploads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(UPLOADS_MAX))
    jumps: Jumps = field(default_factory=Jumps)

    async def close(self) -> None:
        """Hang up on the jump hosts."""
        await self.jumps.close()

    def login(self, host: HostSpec) -> Login:
        """Raises AccessError where the key that the inventory names can't be used."""
        agent = os.environ.get("SSH_AUTH_SOCK") or None
        if host.private_key is None:
            files = {path: self._key(path) for path in _default_keys()}
            keys = tuple(file.key for file in files.values() if file.key is not None)
            return Login(keys, agent, tuple(path for path, file in files.items() if file.key is None))
        path = host.private_key.expanduser()
        file = self._key(path)
        if file.key is not None:
            return Login((file.key,), None, ())
        if agent is None:
            raise AccessError(
                f"the private key {path} is encrypted and no SSH agent runs to hold it",
                hint=f"start one and give it the key: eval $(ssh-agent); ssh-add {path}",
            )
        return Login((), agent, (path,))

    def known_hosts(self, host: HostSpec) -> KnownHosts:
        """Raises AccessError where the file that the inventory names is missing or can't be read."""
        if host.known_hosts not in self._known_hosts:
            self._known_hosts[host.known_hosts] = _read_known_hosts(host.known_hosts)
        return self._known_hosts[host.known_hosts]

    @asynccontextmanager
    async def login_turn(self) -> AsyncIterator[None]:
        """At most LOGINS_MAX logins begin at once; one that hangs gives its place back before it is given up."""
        await self._logins.acquire()
        held = True

        def give_back() -> None:
            nonlocal held
            if held:
                held = False
                self._logins.release()

        timer = asyncio.get_running_loop().call_later(SLOW_LOGIN_S, give_back)
        try:
            yield
        finally:
            timer.cancel()
            give_back()

    def _key(self, path: Path) -> _KeyFile:
        if path not in self._keys:
            self._keys[path] = _read_key(path)
        return self._keys[path]


def _default_keys() -> list[Path]:
    folder = Path("~/.ssh").expanduser()
    return [folder / name for name in _DEFAULT_KEYS if os.access(folder / name, os.R_OK)]


def _read_key(path: Path) -> _KeyFile:
    try:
        return _KeyFile(asyncssh.read_private_key(path))
    except FileNotFoundError:
        raise AccessError(
            f"there is no private key {path}", hint="the inventory's ansible_ssh_private_key_file names it"
        ) from None
    except OSError as error:
        raise AccessError(f"the private key {path} can't be read: {error.strerror}") from None
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        if isinstance(error, asyncssh.KeyEncryptionError) or "assphrase" in str(error):
            return _KeyFile(None)
        raise AccessError(f"{path} is not a private key that can be used: {error}") from None


def _read_known_hosts(custom: Path | None) -> KnownHosts:
    if custom is not None:
        path = custom.expanduser()
        text = _text(path)
        if text is None:
            raise AccessError(
                f"there is no known_hosts file {path}",
                hint=f"the inventory's fleet_known_hosts names it; fill it: ssh-keyscan ADDRESS >> {path}",
            )
        return KnownHosts((path,), _parse_known_hosts([(path, text)]))
    folder = Path("~/.ssh").expanduser()
    files = (folder / "known_hosts", folder / "known_hosts2", *_SYSTEM_KNOWN_HOSTS)
    texts = [(path, text) for path in files if (text := _text(path)) is not None]
    return KnownHosts(files, _parse_known_hosts(texts))


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AccessError(f"the known_hosts file {path} can't be read: {error.strerror}") from None


def _parse_known_hosts(texts: Sequence[tuple[Path, str]]) -> asyncssh.SSHKnownHosts:
    """As ssh reads them: a line that is no entry is passed over. One that revokes a key must be understood."""
    known = asyncssh.SSHKnownHosts()
    for path, text in texts:
        for number, line in enumerate(text.splitlines(), start=1):
            try:
                known.load(line)
            except ValueError:
                if line.lstrip().startswith("@"):
                    raise AccessError(f"{path}:{number}: this line is not a known_hosts entry") from None
    return known
