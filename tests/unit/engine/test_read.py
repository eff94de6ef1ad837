"""Looking at a fleet that others change meanwhile."""

import asyncio
from dataclasses import replace

from fleetctl.engine.links import Links
from fleetctl.engine.read import view
from fleetctl.engine.wishing import Change
from tests.unit.engine.modelled import ModelFleet, web
from tests.unit.engine.virtual import run_virtually


def test_a_run_of_the_same_store_that_claims_while_status_looks_is_no_other_driver(tmp_path):
    fleet = ModelFleet(tmp_path)

    async def dial_slowly(host, on_banner):
        await asyncio.sleep(30.0)
        return await fleet.dial(host, on_banner)

    async def story():
        await fleet.deploy(web(replicas=2))
        means = fleet.means(fleet.store)
        looking = asyncio.create_task(view(replace(means, links=Links(dial_slowly, fleet.redial)), Change()))
        await asyncio.sleep(1.0)
        before = fleet.store.memory("test").generation
        await fleet.deploy(web(replicas=4))
        assert fleet.store.memory("test").generation > before
        return await looking

    seen = run_virtually(story())
    assert seen.driven_elsewhere is None
    assert {job.name: job.replicas for job in seen.desired.jobs} == {"web": 4}
    assert seen.plan.actions == ()
