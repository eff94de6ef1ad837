"""What a human is told over whole nights, through the real engine and store: once, in time, and nothing twice."""

import asyncio

import pytest

from fleetctl.engine.telling import hook_of
from fleetctl.errors import ExitCode
from fleetctl.model.host import Inventory
from tests.unit.engine.modelled import CUT, KILLED, LOCKED, UP, KilledError, ModelFleet, web
from tests.unit.engine.test_run import killed, one_each, story


@pytest.fixture
def fleet(tmp_path):
    return ModelFleet(tmp_path)


async def heals(fleet, count=3, every_s=60.0):
    for _ in range(count):
        await asyncio.sleep(every_s)
        result = await fleet.heal()
    return result


def told(fleet):
    return [(message["event"], message["subject"]) for message in fleet.messages]


@story
async def test_a_quiet_fleet_tells_nothing_and_remembers_nothing(fleet):
    await fleet.deploy(web())
    await heals(fleet)
    assert fleet.messages == []
    assert fleet.store.memory("test").incidents == ()


@story
async def test_a_dead_host_is_told_once_with_what_is_done_and_once_when_it_is_back(fleet):
    await fleet.deploy(web())
    dead = fleet.hosts_of()["web.1"]
    fleet.machines[dead].power_off()
    await heals(fleet, 10)
    (begin,) = fleet.messages
    assert (begin["event"], begin["kind"], begin["subject"]) == ("begin", "host", dead)
    assert begin["what"].startswith(f"{dead} is lost: ")
    assert [line for line in begin["to_do"] if line.startswith("start web.1@")]
    assert begin["done"] == []
    assert begin["ended"] is None
    assert not begin["needs_human"], "heal moves its work"
    fleet.machines[dead].power_on()
    await heals(fleet, 10)
    begin, end = fleet.messages
    assert (end["event"], end["subject"], end["since"]) == ("end", dead, begin["since"])
    assert [line for line in end["done"] if line.startswith("stop web.1@")], "the old copy is stopped"
    assert end["ended"] > end["since"]
    assert end["run"] > begin["run"]


@story
async def test_a_dead_host_is_told_before_the_run_waits_for_anything(fleet):
    await fleet.deploy(web())
    dead = fleet.hosts_of()["web.1"]
    fleet.machines[dead].power_off()
    orders = len(fleet.orders)
    at_first_order = []
    for machine in fleet.machines.values():
        if machine.state == UP:
            fleet.at(machine.spec.name, "claim", "before", lambda: at_first_order.append(told(fleet)))
    await fleet.heal()
    assert fleet.orders_since(orders)
    assert at_first_order[0] == [("begin", dead)]


@pytest.mark.parametrize("state", [KILLED, CUT])
@story
async def test_six_of_ten_lost_is_one_message_and_one_end(tmp_path, state):
    fleet = ModelFleet(tmp_path, count=10)
    await fleet.deploy(web(replicas=10))
    for number in range(1, 7):
        fleet.machines[f"h{number}"].state = state
    await heals(fleet, 5)
    (begin,) = fleet.messages
    assert (begin["kind"], begin["subject"], begin["needs_human"]) == ("fleet", "test: too much lost", True)
    assert begin["members"] == [f"h{number}" for number in range(1, 7)]
    for number in range(1, 7):
        fleet.machines[f"h{number}"].state = UP
        await heals(fleet, 1, every_s=700.0)
    await heals(fleet, 3, every_s=700.0)
    assert told(fleet) == [("begin", "test: too much lost"), ("end", "test: too much lost")]


@story
async def test_a_host_that_comes_and_goes_is_one_incident(fleet):
    await fleet.deploy(web())
    flapping = fleet.machines[fleet.hosts_of()["web.1"]]
    for number in range(12):
        flapping.state = CUT if number % 2 == 0 else UP
        await heals(fleet, 1)
    begun = [message for message in fleet.messages if message["event"] == "begin"]
    ended = [message for message in fleet.messages if message["event"] == "end"]
    assert len(begun) <= 2, "until it is known to flap, once back is well again"
    assert len(ended) == len(begun) - 1
    flapping.state = UP
    await heals(fleet, 20)
    assert told(fleet)[-1] == ("end", flapping.spec.name)
    assert len(fleet.messages) == 2 * len(begun)


@story
async def test_a_suspect_host_with_work_on_it_needs_a_human(fleet):
    await fleet.deploy(web())
    locked = fleet.hosts_of()["web.1"]
    fleet.machines[locked].state = LOCKED
    await heals(fleet)
    (message,) = fleet.messages
    assert (message["subject"], message["needs_human"]) == (locked, True)
    assert message["what"].startswith(f"{locked} is suspect: ")


@story
async def test_a_job_that_fails_its_deploy_is_told_until_it_is_well(fleet):
    await fleet.deploy(web())
    fleet.crashes = lambda host, name: name.epoch > 1
    assert (await fleet.deploy(web(command=("./web", "broken")))).exit_code is ExitCode.FAILED
    await heals(fleet, 3)
    (begin,) = fleet.messages
    assert (begin["kind"], begin["subject"], begin["needs_human"]) == ("job", "web", True)
    fleet.crashes = lambda host, name: False
    await fleet.deploy(web(command=("./web", "mended")))
    assert told(fleet) == [("begin", "web"), ("end", "web")]


@story
async def test_a_run_that_is_killed_after_it_told_tells_no_more_than_once_again(fleet):
    await fleet.deploy(web())
    dead = fleet.hosts_of()["web.1"]
    fleet.machines[dead].power_off()
    send = fleet.notify

    def told_and_killed(message):
        send(message)
        raise KilledError

    fleet.notify = told_and_killed
    await killed(fleet.heal())
    fleet.notify = send
    await asyncio.sleep(60.0)
    await heals(fleet, 3)
    first, again = fleet.messages
    assert first["id"] == again["id"], "so that who reads can tell that it is the same"
    one_each_of_the_living(fleet, dead)


def one_each_of_the_living(fleet, dead):
    fleet.machines[dead].rows.clear()
    one_each(fleet)


@story
async def test_what_could_not_be_handed_over_is_told_by_the_next_run(fleet):
    await fleet.deploy(web())
    dead = fleet.hosts_of()["web.1"]
    fleet.machines[dead].power_off()
    send, fleet.notify = fleet.notify, lambda _message: False
    await heals(fleet, 2)
    assert fleet.messages == []
    fleet.notify = send
    await heals(fleet, 2)
    assert told(fleet) == [("begin", dead)]
    fleet.machines[dead].power_on()
    fleet.notify = lambda _message: False
    await heals(fleet, 2)
    fleet.notify = send
    await heals(fleet, 2)
    assert told(fleet) == [("begin", dead), ("end", dead)]


@story
async def test_without_a_command_incidents_are_remembered_and_told_once_there_is_one(fleet):
    await fleet.deploy(web())
    dead = fleet.hosts_of()["web.1"]
    fleet.machines[dead].power_off()
    send, fleet.notify = fleet.notify, None
    await heals(fleet, 2)
    (incident,) = fleet.store.memory("test").incidents
    assert (incident.subject, incident.told) == (dead, False)
    fleet.notify = send
    await heals(fleet, 2)
    assert told(fleet) == [("begin", dead)]


def test_the_command_is_split_as_a_shell_would_and_run_beside_the_inventory(tmp_path):
    file = tmp_path / "prod.yml"
    inventory = Inventory("prod", file, (), {}, notify="./tell --to 'on call' $HOME")
    hook = hook_of(inventory, tmp_path / "state")
    assert hook is not None
    assert hook.command == ("./tell", "--to", "on call", "$HOME"), "no shell"
    assert (hook.folder, hook.state, hook.fleet) == (tmp_path, tmp_path / "state", "prod")
    assert hook_of(Inventory("prod", file, (), {}), tmp_path) is None
