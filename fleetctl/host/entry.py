"""The first words on a host: finds or makes the root, brings the host program, starts it, and links to its agent.

fleetctl runs one short loader over one SSH exec channel; the loader reads this file from standard input and runs it.
Nothing is installed beforehand. It must read fd 0 with os.read alone, never a byte beyond what it needs, and in `look`
write nothing at all.

THE HANDSHAKE. Lines are JSON objects that end in "\\n"; everything else is raw bytes. C is fleetctl, H the host.

1.  C runs `PYTHON -I -S -E -c LOADER`. LOADER writes its random marker and "\\n" to fd 1, reads exactly N bytes (this
    file) from fd 0 with os.read, and executes them with the globals {"__name__": "__fleetctl_entry__"}:
        import os;os.write(1,b"MARKER\\n");s=b""
        while len(s)<N:
         b=os.read(0,N-len(s))
         if not b:raise SystemExit(1)
         s+=b
        exec(compile(s,"entry","exec"),{"__name__":"__fleetctl_entry__"})
    What came before the marker on fd 1 is thrown away (noisy login shells). C may send steps 1 and 2 in one go.
2.  C -> H  one line, at most 64 KiB:
        {"mode": "drive"|"look", "root": str|null, "fleet": str,
         "program": {"version": "0.1.0", "digest": SHA256, "bytes": COUNT}}
    `root` null is the default root: /var/lib/fleetctl for uid 0, else ~/.local/share/fleetctl.
3.  H -> C  one line, the hello:
        {"hello": 1, "python": [3, 11, 2], "uid": 0, "root": ABSOLUTE, "address": STR, "installed": bool, "agent": bool,
         "running": null | {"version": str, "digest": str}, "send": bool, "error": null | ERROR}
    `address` is where sshd saw us arrive ("" where it can't be told). `running` is the living supervisor's program.
    ERROR is {"kind": str, "message": str, "hint": str}; after one H ends with status 1. Kinds: malformed, python, root,
    newer (in `drive`: a newer fleetctl drives this root, or did last).
    The hello comes within 8 s, however the file system of the root hangs: it is touched by a thread alone.
4.  Only if `send` is true: C -> H  exactly COUNT raw bytes, the bundle.
    The bundle is zlib.compress(TEXT, 9), where TEXT is
        json.dumps({file name: file's text, for every *.py directly in fleetctl/host/},
                   sort_keys=True, separators=(",", ":")).encode("ascii")
    and the digest is hashlib.sha256(TEXT).hexdigest(): of TEXT, not of what zlib made of it.
5.  H -> C  one line, at most 90 s after the hello or the last byte of the bundle:
        {"linked": 1, "by": "agent"|"look"}   or   {"linked": 0, "error": ERROR}, and H ends with status 1.
    Kinds: bundle (not what its digest says, or it does not run under this Python), root (can't be written, or does not
    answer), start (the supervisor did not start), session (it would be killed at log-out), agent (its socket does not
    answer). In `drive` it is always `agent`.
    Where the file system of the root hangs, `agent` is the porter of that agent (porter.py), which answers from memory
    and is found by an abstract socket, in no file system. Nothing is installed or upgraded then: `send` is false.
6.  From here the channel carries the requests and answers of protocol.py until either side ends. EOF from C ends H,
    never the agent. EOF from H: the agent ended (upgraded, killed), or sleeps over a root that hangs: connect again.

drive   makes the root (0700) with artifacts/ incoming/ instances/, unpacks the bundle to <root>/program-<digest>/ where
        it is not there yet, starts the supervisor where none lives, and asks one of an older version (or of the same
        version with another digest) to execute the new program in place. A newer one is left alone, and this link
        refused. Where the disk has no room for ours, a living older one is linked to: see `running`.
look    writes nothing. A living agent is linked to, whatever its version. Without one, look.py (from the bundle or from
        the folder, never leaving a .pyc) answers observe, logs and probe from the files and /proc; anything else gets
        the error `no_agent`.
"""

import _thread
import errno
import json
import os
import select
import socket
import stat
import struct
import sys
import time
from binascii import crc32

PACKAGE = "fleetctl_host"
LINE_BYTES_MAX = 64 * 1024
START_WAIT_S = 10.0
ANSWER_WAIT_S = 30.0  # an agent begins in a tenth of a second, on a busy slow host in ten
GREETING_WAIT_S = 1.0  # where a supervisor lives, a killed agent is back by then
CHECK_WAIT_S = 30.0  # a busy host compiles it for the first time
BOOT_WAIT_S = 20.0  # for systemd and cron to say what they do; then this session starts the supervisor itself
UNIT_WAIT_S = 10.0
ROOT_WAIT_S = 6.0  # a root that does not answer in that time hangs
BRING_WAIT_S = 85.0
PORTER_WAIT_S = 1.0
UNANSWERED_MS = 3000  # then the porter is asked whether its agent sleeps
HANGS_HINT = "see what its disk or mount does, there: findmnt -T %s; dmesg | tail"
UNSENT_BYTES_MAX = 1024 * 1024
REMOTE_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs")
FOLDERS = ("artifacts", "incoming", "instances")


class Failure(Exception):
    """What went wrong, for the other side: (kind, message, hint)."""

    def error(self):
        kind, message, hint = self.args
        return {"kind": kind, "message": message, "hint": hint}


class NoRoom(Failure):
    """Likewise, for want of room on the disk."""


# Talking, without a buffer


def read_exactly(count: int) -> bytes:
    content = b""
    while len(content) < count:
        part = os.read(0, min(count - len(content), 1024 * 1024))
        if not part:
            raise EOFError
        content += part
    return content


def read_line(read, limit: int) -> bytes:
    """One line, by `read(1)`: what follows it is not ours to take. ValueError for one that is too long."""
    line = b""
    while not line.endswith(b"\n"):
        if len(line) >= limit:
            raise ValueError("a line of more than %d bytes" % limit)
        byte = read(1)
        if not byte:
            raise EOFError
        line += byte
    return line


def say(value) -> None:
    content = json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"
    while content:
        content = content[os.write(1, content) :]


# The root


def default_root() -> str:
    if os.getuid() == 0:
        return "/var/lib/fleetctl"
    home = os.environ.get("HOME", "")
    if not os.path.isabs(home):
        import pwd

        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            raise Failure("root", "user %d has no home" % os.getuid(), "set fleet_root for this host") from None
    return os.path.join(home, ".local", "share", "fleetctl")


def file_system_of(path: str, mounts: str) -> str:
    """The type of the file system a path is on, by the text of /proc/self/mountinfo: that of the deepest mount."""
    best, found = "", ""
    for line in mounts.splitlines():
        words = line.split(" ")
        if "-" not in words:
            continue
        place = words[4].encode().decode("unicode_escape")  # \040 is a blank
        inside = path == place or path.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(best):
            best, found = place, words[words.index("-") + 1]
    return found


def existing(path: str) -> str:
    """The deepest part of a path that is there, links resolved."""
    while not os.path.isdir(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return os.path.realpath(path)


def check_root(root: str) -> None:
    """Refuse a root on a file system of another machine: locks, FIFOs and sockets mean nothing there."""
    try:
        with open("/proc/self/mountinfo") as file:
            kind = file_system_of(existing(root), file.read())
    except OSError:
        return
    if kind in REMOTE_FILE_SYSTEMS:
        hint = "set fleet_root to a folder on a disk of this host, such as /var/tmp/fleetctl-%d" % os.getuid()
        raise Failure("root", "%s is on %s, which other hosts share" % (root, kind), hint)


def make_root(root: str) -> None:
    try:
        os.makedirs(root, 0o700, exist_ok=True)
        state = os.stat(root)
        if state.st_uid != os.getuid():
            raise Failure("root", "%s belongs to user %d" % (root, state.st_uid), "set another fleet_root")
        if stat.S_IMODE(state.st_mode) != 0o700:
            os.chmod(root, 0o700)
        for name in FOLDERS:
            os.makedirs(os.path.join(root, name), 0o700, exist_ok=True)
    except OSError as error:
        message = "%s can't be made: %s" % (root, error.strerror)
        raise Failure("root", message, "make it writable for this user, or set fleet_root") from None


# What may hang


class HangsError(Exception):
    """The root does not answer."""


class Door:
    """The way to the agent's porter, which leads through no file system. It is silent while the agent lives."""

    def __init__(self, root: str, address: str) -> None:
        self.root, self.address = root, address
        self.said = None  # its first line: the root hangs, and it answers from memory
        self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.connection.connect(porter_name(root))
            peer = self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            self.open = struct.unpack("3i", peer)[1] == os.getuid()
        except OSError:
            self.open = False
        self.connection.settimeout(PORTER_WAIT_S)

    def hear(self) -> bool:
        """Whether it says that the root hangs. To be called when there is something to read."""
        try:
            said = json.loads(read_line(self.connection.recv, LINE_BYTES_MAX).decode())
            if said["root"] == self.root:
                self.said = said
        except (OSError, ValueError, KeyError, EOFError):
            pass
        self.open = self.said is not None
        return self.open

    def insist(self) -> bool:
        """Tell it that we saw the root hang, though its agent may have been asleep meanwhile and saw nothing."""
        words = {"do": "arrive", "address": self.address, "hangs_s": ROOT_WAIT_S}
        try:
            self.connection.sendall(json.dumps(words).encode("ascii") + b"\n")
        except OSError:
            return False
        return self.hear()

    def close(self) -> None:
        self.open = False
        self.connection.close()


def porter_name(root: str) -> str:
    """As porter.py makes it."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return "\0fleetctl %d %s %08x" % (os.getuid(), space, crc32(os.fsencode(root)) & 0xFFFFFFFF)


def aside(work, wait_s: float, door):
    """What `work()` gives or raises: done by a thread, which alone hangs with the root.

    Raises HangsError when the porter says that the root hangs, or when nothing came of it in time.
    """
    read, write = os.pipe()
    came = []

    def run():
        try:
            came.append((work(), None))
        except BaseException as failure:
            came.append((None, failure))
        os.write(write, b".")

    _thread.start_new_thread(run, ())
    await_word(read, wait_s, door)  # where it hangs, the pipe is left to the thread
    os.close(read)
    os.close(write)
    value, failure = came[0]
    if failure is not None:
        raise failure
    return value


def await_word(read: int, wait_s: float, door) -> None:
    end = time.monotonic() + wait_s
    while True:
        heard = [read, door.connection] if door.open else [read]
        ready = select.select(heard, [], [], max(0.0, end - time.monotonic()))[0]
        if read in ready:
            return
        if not ready or door.hear():
            raise HangsError


# What runs there


def stat_words(pid: int):
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []


def signature(root: str):
    """(pid, start time, version, digest) of the newest supervisor, living or not, as it wrote them down; or None."""
    try:
        with open(os.path.join(root, "supervisor.lock"), "rb") as file:
            pid, start, version, digest = file.read(4096).decode().split()[:4]
        parsed(version)
        return int(pid), start, version, digest
    except (OSError, ValueError):
        return None


def running(root: str):
    """The living supervisor's program, by what it wrote into its lock and what /proc says of that process; or None."""
    signed = signature(root)
    words = stat_words(signed[0]) if signed is not None else []
    if len(words) > 19 and words[19].decode() == signed[1] and words[0] not in (b"Z", b"X"):
        return {"version": signed[2], "digest": signed[3]}
    return None


def refuse_newer(version: str, program) -> None:
    """What a newer fleetctl wrote here, an older one may misunderstand."""
    if parsed(version) > parsed(program["version"]):
        message = "driven by fleetctl %s; this is %s" % (version, program["version"])
        raise Failure("newer", message, "install fleetctl %s or newer" % version)


def connect(root: str):
    """A connection to the agent, or None. Through the folder: a socket's path may not be longer than 107 bytes."""
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.chdir(root)
        connection.connect("agent.sock")
    except OSError:
        connection.close()
        return None
    finally:
        os.fchdir(here)
        os.close(here)
    return connection


def greeted(root: str, wait_s: float, digest: str = ""):
    """A connection on which the agent has said hello; with a digest, the agent of that program. None: not in time."""
    end = time.monotonic() + wait_s
    while True:
        connection = connect(root)
        if connection is not None:
            connection.settimeout(max(0.5, end - time.monotonic()))
            try:
                hello = json.loads(read_line(connection.recv, LINE_BYTES_MAX).decode())  # os.read would not wait
                if not digest or hello["digest"] == digest:
                    connection.settimeout(None)
                    return connection
            except (OSError, ValueError, KeyError, EOFError):
                pass
            connection.close()
        if time.monotonic() >= end:
            return None
        time.sleep(0.02)


# Bringing the program


def unbundle(content: bytes, digest: str):
    """{file name: its text}, checked."""
    import hashlib
    import zlib

    try:
        plain = zlib.decompress(content)
    except zlib.error as error:
        raise Failure("bundle", "the host program arrived broken: %s" % error, "try again") from None
    if hashlib.sha256(plain).hexdigest() != digest:
        raise Failure("bundle", "the host program is not what its digest says", "try again")
    files = json.loads(plain.decode("ascii"))
    for name in files:
        if not name.endswith(".py") or "/" in name or name.startswith("."):
            raise Failure("bundle", "the host program has a file named %r" % name, "")
    return files


def install(root: str, digest: str, version: str, files) -> None:
    """Make <root>/program-<digest>/ appear whole, on the disk, and seen to load under this Python."""
    target = os.path.join(root, "program-" + digest)
    temporary = "%s.%d.new" % (target, os.getpid())
    package = os.path.join(temporary, PACKAGE)
    try:
        os.makedirs(package, 0o700)
        for name in files:
            write_file(os.path.join(package, name), files[name])
        write_file(os.path.join(temporary, "VERSION"), version + "\n")
        check_program(os.path.join(package, "main.py"))
        for folder in (package, temporary):
            sync(folder)
        os.rename(temporary, target)
        sync(root)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # those: somebody else was faster
            message = "the host program can't be written to %s: %s" % (root, error.strerror)
            kind = NoRoom if error.errno in (errno.ENOSPC, errno.EDQUOT) else Failure
            raise kind("root", message, "make room or make it writable, or set fleet_root") from None
    finally:
        remove(temporary)


def write_file(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(folder: str) -> None:
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            os.unlink(os.path.join(parent, name))
        os.rmdir(parent)


def python(main_file: str, *arguments: str) -> None:
    """Become that program, with nothing of the session's environment but where programs are found."""
    variables = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8"}
    if "FLEETCTL_BOOT" in os.environ:  # "none": nothing is arranged for the next boot (see boot.py)
        variables["FLEETCTL_BOOT"] = os.environ["FLEETCTL_BOOT"]
    os.execve(sys.executable, [sys.executable, "-I", "-S", "-E", main_file, *arguments], variables)


def check_program(main_file: str) -> None:
    """Have every module loaded once, which also leaves the compiled ones beside them."""
    status, said = result_of(CHECK_WAIT_S, main_file, "check")
    if status:
        message = "the host program does not run under %s: %s" % (sys.executable, last_line(said))
        raise Failure("bundle", message, "set fleet_python for this host")


def result_of(wait_s: float, main_file: str, *arguments: str):
    """(wait status, what it said) of that program, which is killed where it takes longer."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            null = os.open("/dev/null", os.O_RDWR)
            os.dup2(null, 0)
            os.dup2(write, 1)
            os.dup2(write, 2)
            python(main_file, *arguments)
        finally:
            os._exit(127)
    os.close(write)
    said = b""
    end = time.monotonic() + wait_s
    while select.select([read], [], [], max(0.0, end - time.monotonic()))[0]:
        part = os.read(read, 65536)
        if not part:
            break
        said += part
    else:
        os.kill(pid, 9)
    os.close(read)
    return os.waitpid(pid, 0)[1], said


def last_line(content: bytes) -> str:
    lines = content.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:500] if lines else "it said nothing"


# Starting it


def start_supervisor(root: str, digest: str) -> None:
    """Have systemd start it where that brings it back after a reboot, else start it out of this session.

    Returns when one holds its lock. Raises Failure `session` where this login's end would be its end.
    """
    main_file = os.path.join(root, "program-" + digest, PACKAGE, "main.py")
    if os.environ.get("FLEETCTL_BOOT") != "none" and started_by_systemd(root, main_file):
        return
    fork_supervisor(root, main_file)


def started_by_systemd(root: str, main_file: str) -> bool:
    """Ask boot.py. Whatever goes wrong there keeps no host from working until its next reboot."""
    status, said = result_of(BOOT_WAIT_S, main_file, "boot", root, "start")
    try:
        word = json.loads(last_line(said))
        if status == 0 and "error" in word:
            raise Failure("session", word["error"], word["hint"])
        if status or word["by"] == "fork":
            return False
    except (ValueError, KeyError, TypeError):
        return False
    end = time.monotonic() + UNIT_WAIT_S
    while running(root) is None:
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def fork_supervisor(root: str, main_file: str) -> None:
    """Start it out of this session, and return when it holds its lock, or when another was faster."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            if os.fork():
                os._exit(0)
            null = os.open("/dev/null", os.O_RDWR)
            log = os.open(os.path.join(root, "agent.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(null, 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.set_inheritable(write, True)
            os.umask(0o077)
            os.chdir("/")
            python(main_file, "supervisor", root, str(write), "-1")
        finally:
            os._exit(127)
    os.close(write)
    os.waitpid(pid, 0)
    ready = select.select([read], [], [], START_WAIT_S)[0]
    word = os.read(read, 16) if ready else b""
    os.close(read)
    if word not in (b"ok", b"taken"):
        raise Failure("start", "the supervisor did not start: %s" % complaint(root), "see agent.log in %s" % root)


def complaint(root: str) -> str:
    try:
        with open(os.path.join(root, "agent.log"), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            return last_line(file.read())
    except OSError as error:
        return str(error)


def ask_upgrade(root: str, digest: str, version: str) -> None:
    try:
        descriptor = os.open(os.path.join(root, "supervisor.ctl"), os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return
    try:
        os.write(descriptor, ("exec %s %s\n" % (digest, version)).encode())
    finally:
        os.close(descriptor)


def parsed(version: str):
    return [int(part) for part in version.split(".")]


def wants_upgrade(alive, program):
    if alive["digest"] == program["digest"]:
        return False
    return parsed(alive["version"]) <= parsed(program["version"])


def bring_up(root: str, program):
    """Whatever it takes to have an agent that answers. Gives the connection."""
    for _ in range(2):  # a supervisor may die between the look and the request
        alive = running(root)
        if alive is None:
            start_supervisor(root, program["digest"])
            alive = running(root) or program
        expected = alive["digest"]
        if wants_upgrade(alive, program):
            ask_upgrade(root, program["digest"], program["version"])
            expected = program["digest"]
        connection = greeted(root, ANSWER_WAIT_S, expected)
        if connection is not None:
            return connection
        if running(root) is not None:
            break
    message = "its agent does not answer: %s" % complaint(root)
    raise Failure("agent", message, "see agent.log in %s" % root)


# Linking


def relay(connection, address: str, root) -> None:
    """Bytes from here to the agent and back, until either side ends.

    With a root, also until the agent's porter says that this hangs: whoever waits for an answer links again, to that.
    """
    connection.sendall(json.dumps({"do": "arrive", "address": address}).encode("ascii") + b"\n")
    agent = connection.fileno()
    for descriptor in (0, 1, agent):
        os.set_blocking(descriptor, False)
    ways = {0: (agent, bytearray()), agent: (1, bytearray())}
    ended, asked, door = False, False, None
    while not ended or ways[agent][1]:
        poll = interested(ways, ended)
        if door is not None:
            poll.register(door.connection, select.POLLIN)
        found = poll.poll(UNANSWERED_MS if asked and root is not None and door is None else None)
        if not found:
            door = Door(root, address)
        for descriptor, events in found:
            heard = descriptor in ways and events & (select.POLLIN | select.POLLHUP | select.POLLERR)
            if door is not None and (descriptor == door.connection.fileno() or (heard and descriptor == agent)):
                if descriptor != agent and door.hear():
                    return
                door.close()
                door, asked = None, False
            if descriptor == 1 and events & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
                return
            asked = descriptor == 0 if heard else asked
            if heard and not fill(descriptor, ways[descriptor][1]):
                if descriptor == 0:
                    return
                ended = True  # the agent's last words are still to be passed on
            for target, unsent in ways.values():
                if target == descriptor and events & select.POLLOUT:
                    spill(target, unsent)


def interested(ways, ended: bool):
    """What there is to wait for."""
    poll = select.poll()
    interest = dict.fromkeys((1, *ways), 0)
    for source, (target, unsent) in ways.items():
        if len(unsent) < UNSENT_BYTES_MAX and not ended:
            interest[source] |= select.POLLIN
        if unsent:
            interest[target] |= select.POLLOUT
    for descriptor, events in interest.items():
        if events or descriptor == 1:  # of fd 1 at least its end is heard
            poll.register(descriptor, events)
    return poll


def fill(source: int, unsent: bytearray) -> bool:
    try:
        part = os.read(source, 65536)
    except BlockingIOError:
        return True
    except OSError:
        return False
    unsent += part
    return bool(part)


def spill(target: int, unsent: bytearray) -> None:
    try:
        del unsent[: os.write(target, bytes(unsent[:65536]))]
    except BlockingIOError:
        pass


def look(root: str, program, files, address: str) -> None:
    """Serve this link from the files, with modules that come from memory or from the folder and leave nothing there."""
    sys.dont_write_bytecode = True
    if files is None:
        sys.path.insert(0, os.path.join(root, "program-" + program["digest"]))
    else:
        sys.meta_path.insert(0, InMemory(files))
    module = __import__(PACKAGE + ".look").look
    served = module.Look(root, program["version"], program["digest"])
    say({"linked": 1, "by": "look"})
    served.serve(0, 1, address)


class InMemory:
    """Finds and loads the modules of the bundle."""

    def __init__(self, files) -> None:
        from importlib.util import spec_from_loader  # before this finder is asked: it would look for itself for ever

        self.files, self.spec = files, spec_from_loader

    def find_spec(self, name, _path=None, _target=None):
        if name == PACKAGE:
            return self.spec(name, self, is_package=True)
        if name.startswith(PACKAGE + ".") and name.rpartition(".")[2] + ".py" in self.files:
            return self.spec(name, self)
        return None

    def create_module(self, _spec):
        return None

    def load_module(self, name):  # the older half of the interface, which nobody calls
        raise ImportError(name)

    def exec_module(self, module) -> None:
        name = "__init__" if module.__name__ == PACKAGE else module.__name__.rpartition(".")[2]
        module.__file__ = name + ".py"  # some ask where they are; nothing is read from there
        exec(compile(self.files[name + ".py"], name + ".py", "exec"), module.__dict__)  # noqa: S102


# All of it


def read_request():
    try:
        request = json.loads(read_line(lambda count: os.read(0, count), LINE_BYTES_MAX).decode())
        program = request["program"]
        parsed(program["version"])
        sound = request["mode"] in ("drive", "look") and program["digest"].isalnum() and 0 < program["bytes"] < 2**24
        root = request["root"]
        if not sound or not (root is None or os.path.isabs(root)):
            raise ValueError
        if root is not None:  # in the C locale 3.6 takes names for ASCII: there it is the bytes that count
            request["root"] = os.fsdecode(root.encode("utf-8", "surrogateescape"))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Failure("malformed", "the first line is not what entry.py expects", "") from None
    return request


def server_address() -> str:
    words = os.environ.get("SSH_CONNECTION", "").split()
    return words[2] if len(words) == 4 else ""


def told(failure):
    """A failure as the other side reads it. Raises it again where there is no other side."""
    if isinstance(failure, BrokenPipeError):
        raise failure
    if isinstance(failure, Failure):
        return failure.error()
    words = [str(word) for word in (failure.filename, failure.strerror) if word]
    return {"kind": "root", "message": ": ".join(words) or str(failure), "hint": "is the disk full, or broken?"}


def main() -> int:
    address = server_address()
    hello = {
        "hello": 1,
        "python": list(sys.version_info[:3]),
        "uid": os.getuid(),
        "root": "",
        "address": address,
        "installed": False,
        "agent": False,
        "running": None,
        "send": False,
        "error": None,
    }
    try:
        request = read_request()
        mode, program = request["mode"], request["program"]
        if sys.version_info < (3, 6):
            raise Failure("python", "python3 is %d.%d here, 3.6 is needed" % sys.version_info[:2], "set fleet_python")
        root = hello["root"] = os.path.normpath(request["root"] or default_root())
        door = Door(root, address)
        state, link = arrived(root, mode, program, door)
        hello.update(state)
    except (Failure, OSError) as failure:
        hello["error"] = told(failure)
        say(hello)
        return 1
    say(hello)
    try:
        files = unbundle(read_exactly(program["bytes"]), program["digest"]) if hello["send"] else None
        if mode == "look" and link is None:
            look(root, program, files, address)
            return 0
        if link is None:
            link = brought(root, program, files, door)
    except (Failure, OSError) as failure:
        say({"linked": 0, "error": told(failure)})
        return 1
    say({"linked": 1, "by": "agent"})
    if link is door.connection:
        relay(link, address, None)
    else:
        door.close()
        relay(link, address, root)
    return 0


def arrived(root: str, mode: str, program, door):
    """What of the hello depends on the root, and the link, if it can be had by now."""
    try:
        state, link = aside(lambda: arrive(root, mode, program), ROOT_WAIT_S, door)
        if not (mode == "look" and link is None and door.open and asleep(door)):
            return state, link
    except HangsError:
        if not (door.said or (door.open and door.insist())):
            message, hint = "%s does not answer: its file system hangs" % root, HANGS_HINT % root
            raise Failure("root", message, hint) from None
    version, digest = door.said.get("version"), door.said.get("digest")
    if version is not None and mode == "drive":
        refuse_newer(version, program)
    running_there = {"version": version, "digest": digest} if version is not None else None
    return {"agent": True, "running": running_there}, door.connection


def arrive(root: str, mode: str, program):
    check_root(root)
    if mode == "drive":
        make_root(root)
        signed = signature(root)
        if signed is not None:
            refuse_newer(signed[2], program)
    installed = os.path.isdir(os.path.join(root, "program-" + program["digest"]))
    alive = running(root)
    stale = alive is not None and wants_upgrade(alive, program)
    expected = alive["digest"] if mode == "drive" and alive is not None and not stale else ""
    link = greeted(root, 0.0 if alive is None else GREETING_WAIT_S, expected)
    needed = link is None if mode == "look" else alive is None or stale
    state = {"installed": installed, "running": alive, "agent": link is not None, "send": needed and not installed}
    return state, None if mode == "drive" and stale else link


def asleep(door) -> bool:
    """An agent that lives and does not greet: before its files are looked at, see whether they hang."""
    return bool(select.select([door.connection], [], [], ROOT_WAIT_S)[0]) and door.hear()


def brought(root: str, program, files, door):
    """The link to an agent that was started or upgraded for it."""

    def bring():
        try:
            if files is not None:
                install(root, program["digest"], program["version"], files)
        except NoRoom:
            link = greeted(root, ANSWER_WAIT_S) if running(root) is not None else None
            if link is None:
                raise
            return link  # what fills the disk is stopped by the program that is there
        return bring_up(root, program)

    try:
        return aside(bring, BRING_WAIT_S, door)
    except HangsError:
        if door.said is not None:
            return door.connection
        message = "nothing came of starting the host program in %g s" % BRING_WAIT_S
        raise Failure("start", message, "is the host overloaded, or does its disk hang?") from None


if __name__ == "__fleetctl_entry__":
    try:
        status = main()
    except (EOFError, BrokenPipeError):
        status = 1  # the other side is gone
    os.closerange(0, 3)  # a thread that hangs with the root keeps this process, but not the session
    os._exit(status)
