"""A fleet that a newer fleetctl drives: this one shows it, orders nothing, and says which version to install."""

import asyncio
import json

from tests.host.driven import Host
from tests.ssh.test_changing import where
from tests.ssh.test_cli import Ended, user_of  # noqa: F401 (a fixture)

REMEDY = "install fleetctl 0.3.0 or newer"


async def upgraded(host):
    """A newer fleetctl has driven this host, once."""
    newer = Host(host.root, "/usr/bin/python3", "demo")
    link = await asyncio.to_thread(newer.connect, version="0.3.0", change="newer", FLEETCTL_BOOT="none")
    assert link.linked == {"linked": 1, "by": "agent"}
    link.close()


def told(host, there=""):
    return (
        f"needs a human: {host}: newer fleetctl: {host} is driven by fleetctl 0.3.0; this is 0.1.0"
        f"{f': {there} there left alone, and not replaced' if there else ''}; {REMEDY}\n"
    )


async def test_an_older_fleetctl_orders_nothing_and_says_which_version_to_install(user_of):  # noqa: F811
    async with user_of(1) as user:
        assert (await user.deploy()).exit == 0
        (embedded,) = user.fleet.hosts
        await upgraded(embedded)
        before, guard = user.fleet.orders, json.loads((embedded.root / "guard.json").read_text())
        scaled = await user.run("scale", "web=4")
        assert scaled.exit == 5, scaled
        assert told("h1", "web.0@1, web.1@1, web.2@1") in scaled.out
        assert "force" not in scaled.out + scaled.err
        assert (user.fleet.orders, json.loads((embedded.root / "guard.json").read_text())) == (before, guard)
        assert set(await where(user)) == {"web.0", "web.1", "web.2"}, "looking is free"
        shown = await user.run("hosts")
        assert f"h1: it is driven by fleetctl 0.3.0; this is 0.1.0, and can order nothing there; {REMEDY}" in shown.out
        assert "force" not in shown.out + shown.err


async def test_cron_is_told_once_and_nothing_moves(user_of):  # noqa: F811
    async with user_of(2) as user:
        assert (await user.deploy()).exit == 0
        before = await where(user)
        await upgraded(user.fleet.host("h1"))
        healed = await user.run("heal")
        assert (healed.exit, healed.err) == (5, "")
        assert told("h1", "web.0@1, web.2@1") in healed.out
        assert healed.out.endswith("demo: nothing to do; yielded: somebody else, or a newer fleetctl, drives\n")
        assert await user.run("heal") == Ended(5, "", ""), "cron has heard of it"
        assert await where(user) == before
        hosts = json.loads((await user.run("hosts", "--json")).out)["hosts"]
        assert [host["verdict"] for host in hosts] == ["healthy", "healthy"]


async def test_the_other_hosts_are_driven(user_of):  # noqa: F811
    async with user_of(2) as user:
        assert (await user.deploy()).exit == 0
        await upgraded(user.fleet.host("h1"))
        stopped = await user.run("stop", "web")
        assert stopped.exit == 5, stopped
        assert await where(user) == {"web.0": "h1", "web.2": "h1"}, "only a newer one ends those"
        drained = await user.run("drain", "h1", "--deadline", "0s")
        assert drained.exit == 5, drained
        assert "draining h1: blocked by h1: newer fleetctl: h1 is driven by fleetctl 0.3.0" in drained.out
