"""A fleet that a newer fleetctl drives: this one shows it, orders nothing, and says which version to install."""

import asyncio
import json

from tests.host.driven import Host
from tests.ssh.test_changing import where
from tests.ssh.test_cli import user_of  # noqa: F401 (a fixture)

TOLD = "this host is driven by fleetctl 0.3.0; this is 0.1.0"


async def test_an_older_fleetctl_orders_nothing_and_says_which_version_to_install(user_of):  # noqa: F811
    async with user_of(1) as user:
        assert (await user.deploy()).exit == 0
        (embedded,) = user.fleet.hosts
        newer = Host(embedded.root, "/usr/bin/python3", "demo")
        link = await asyncio.to_thread(newer.connect, version="0.3.0", change="newer", FLEETCTL_BOOT="none")
        assert link.linked == {"linked": 1, "by": "agent"}
        link.close()
        before, guard = user.fleet.orders, json.loads((embedded.root / "guard.json").read_text())
        scaled = await user.run("scale", "web=4")
        assert scaled.exit == 3, scaled
        assert TOLD in scaled.out
        assert "install fleetctl 0.3.0 or newer" in scaled.out
        assert (user.fleet.orders, json.loads((embedded.root / "guard.json").read_text())) == (before, guard)
        assert set(await where(user)) == {"web.0", "web.1", "web.2"}, "looking is free"
