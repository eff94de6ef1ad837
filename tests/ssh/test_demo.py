"""The demo, whole: what it shows is real, and nothing is left of it however it ended."""

import asyncio
import io
import os
import shutil
import signal
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fleetctl.cli.demo import DemoError, tell_story
from fleetctl.cli.screen import Screen
from fleetctl.embedded.processes import end_processes_under, processes_under

FLEETCTL = Path(sys.executable).with_name("fleetctl")


@pytest.fixture
def folder():
    """Where demos make their folders; short, since sockets lie in them."""
    made = Path(tempfile.mkdtemp(prefix="demos-"))
    yield made
    end_processes_under(made)
    shutil.rmtree(made, ignore_errors=True)


@asynccontextmanager
async def demo(folder):
    """`fleetctl demo` as a process, which does not outlive the block."""
    process = await asyncio.create_subprocess_exec(
        FLEETCTL, "demo", env={"PATH": os.environ["PATH"], "TMPDIR": str(folder)}, cwd="/",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def told_until(process, word):
    """Everything the demo says until a line begins with `word`."""
    said = []
    async for line in process.stdout:
        said.append(line.decode())
        if said[-1].startswith(word):
            return "".join(said)
    raise AssertionError(f"never said {word!r}: {''.join(said)}")


def nothing_is_left(folder):
    return not list(folder.iterdir()) and not mentioning(folder)


def mentioning(folder):
    """Processes of any kind whose working folder, environment or arguments name the folder."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            texts = [os.fsencode((process / "cwd").readlink()), (process / "cmdline").read_bytes()]
            texts.append((process / "environ").read_bytes())
        except OSError:
            continue
        if any(os.fsencode(folder) in text for text in texts):
            found.append((process.name, texts[1]))
    return found


async def test_the_whole_demo_succeeds_and_leaves_nothing(folder):
    async with demo(folder) as process:
        said = (await process.stdout.read()).decode()
        assert await process.wait() == 0, said
    assert said.count("  http://") == 6, "three copies are asked before and after"
    assert "Now h1 dies" in said
    assert nothing_is_left(folder), mentioning(folder)


async def test_every_programs_parents_are_the_host_program_up_to_init(folder):
    async with demo(folder) as process:
        await told_until(process, "Where it runs")
        process.send_signal(signal.SIGSTOP)  # so that nothing changes while it is looked at
        everything = {found.pid: found for found in processes_under(folder)}
        programs = [pid for pid in everything if any(word.endswith("/hello") for word in words(pid))]
        assert len(programs) == 3
        for program in programs:
            parents = list(lineage(everything, program))
            assert len(parents) == 3, "its shim, the nursery and the supervisor"
            assert all(is_host_program(pid) for pid in parents)
            assert everything[parents[-1]].parent == 1


def words(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
    except OSError:  # it has just ended
        return []


def lineage(everything, pid):
    while (pid := everything[pid].parent) in everything:
        yield pid


def is_host_program(pid):
    return any("/fleetctl/program-" in word for word in words(pid))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_demo_that_is_interrupted_leaves_nothing(folder, number):
    async with demo(folder) as process:
        await told_until(process, "started ")
        process.send_signal(number)
        said = (await process.stdout.read()).decode()
        assert await process.wait() == 130, said
    assert nothing_is_left(folder), mentioning(folder)


async def test_the_demo_after_one_that_was_killed_tidies_up_after_it(folder):
    async with demo(folder) as process:
        await told_until(process, "Now h1 dies")
        process.kill()
    [left] = folder.iterdir()
    assert processes_under(folder), "programs outlive their controller"

    async with demo(folder) as again:
        said = (await again.stdout.read()).decode()
        assert await again.wait() == 0, said
    assert f"removed what an earlier demo left in {left}" in said
    assert nothing_is_left(folder), mentioning(folder)


async def test_a_swapped_host_key_fails_the_demo_with_the_host_key_error(fleet_of):
    async with fleet_of(4) as fleet:
        await fleet.host("h2").swap_host_key()
        with pytest.raises(DemoError) as failed:
            await tell_story(fleet, Screen(io.StringIO(), terminal=False))
    assert "h2: the host key of" in failed.value.message
    assert "SHA256:" in failed.value.message
    assert "ssh-keygen -R" in failed.value.hint
