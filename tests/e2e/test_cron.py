"""`heal` needs neither the build folder, nor an inventory named, nor an environment: cron can run it."""

import os
import pwd
import shutil
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.fleet import CRON, FLEETCTL, without_real_state
from tests.e2e.image import command


def lose_a_host_and_the_build(fleet):
    shutil.rmtree(fleet.project / "build")
    host = fleet.host_of("web.1")
    fleet.machines.kill(host)
    return host


def test_heal_needs_only_what_cron_gives_it(fleet):
    cron = {**CRON, "HOME": str(fleet.home)}
    fleet.write()
    fleet.run("deploy", str(fleet.playbook), "-i", "inventory.yml", env=cron, cwd=fleet.project).ends(0)
    host = lose_a_host_and_the_build(fleet)

    fleet.run("heal", env=cron, cwd=fleet.home).ends(4)
    fleet.await_all_answer(besides=(host,))


def test_heal_needs_no_environment_at_all(fleet):
    fleet.deployed()
    host = lose_a_host_and_the_build(fleet)

    with laid_over_the_users_state(fleet.state) as within:
        command(*within, "sh", "-c", 'exec env -i "$0" heal; exit 99', str(FLEETCTL), exit_code=4, timeout_s=120)
    fleet.await_all_answer(besides=(host,))


@contextmanager
def laid_over_the_users_state(folder):
    """A prefix for a command that finds `folder` where the user's own state would be; that one is never touched."""
    real = Path(pwd.getpwuid(os.getuid()).pw_dir, ".local", "state", "fleetctl")
    made = [path for path in (real, *real.parents) if not path.exists()]
    real.mkdir(parents=True, exist_ok=True)
    try:
        yield (*without_real_state(), "sh", "-c", 'mount --bind "$1" "$2" && shift 2 && exec "$@"', "sh",
               str(folder), str(real))  # fmt: skip
    finally:
        for path in made:
            path.rmdir()
