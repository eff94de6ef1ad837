"""The controller lost its copy of an artifact: a host that has it gives it back, else the run says who was asked."""

from functools import wraps

import pytest

from fleetctl.engine.events import FetchEnded
from fleetctl.errors import ExitCode, StateError
from fleetctl.state.artifacts import KeptArtifacts, digest_of
from tests.unit.engine.modelled import ModelFleet, web
from tests.unit.engine.virtual import run_virtually


def story(test):
    @wraps(test)
    def told(**arguments):
        run_virtually(test(**arguments))

    return told


class Losing(ModelFleet):
    """Five hosts, four with a replica; the controller lost its copy, and the host of web.0 died."""

    async def lose_copy_and_host(self):
        build = self.folder / "build"
        build.mkdir()
        (build / "web").write_text("a program")
        (build / "web").chmod(0o755)
        (build / "current").symlink_to("web")
        self.kept = KeptArtifacts(self.folder / "state")
        self.digest = self.kept.keep(build)
        self.contents[self.digest] = build
        assert (await self.deploy(web(), artifact=self.digest)).exit_code is ExitCode.AS_WISHED
        self.kept.forget_unused(())
        self.machines[self.hosts_of()["web.0"]].power_off()
        self.givers = sorted(set(self.hosts_of().values()))
        self.told.clear()

    def fetches(self):
        return [(event.host, event.error) for event in self.told if isinstance(event, FetchEnded)]

    def left_aside(self):
        return [path.name for path in (self.folder / "state" / "artifacts").glob("unfinished-*")]


@pytest.fixture
def fleet(tmp_path):
    return Losing(tmp_path)


@story
async def test_heal_fetches_it_back_once_and_places_what_is_missing(fleet):
    await fleet.lose_copy_and_host()
    result = await fleet.heal()
    assert (result.exit_code, result.failures) == (ExitCode.UNREACHED, ())
    assert sorted(fleet.running()) == ["web.0", "web.1", "web.2", "web.3"]
    assert fleet.fetches() == [(fleet.givers[0], "")]
    assert digest_of(fleet.kept.path(fleet.digest)) == fleet.digest
    assert fleet.left_aside() == []


@story
async def test_what_is_kept_is_not_fetched(fleet):
    await fleet.lose_copy_and_host()
    fleet.kept.keep(fleet.contents[fleet.digest])
    assert (await fleet.heal()).exit_code is ExitCode.UNREACHED
    assert sorted(fleet.running()) == ["web.0", "web.1", "web.2", "web.3"]
    assert fleet.fetches() == []


@story
async def test_where_the_first_hosts_copy_is_damaged_the_next_is_asked(fleet):
    await fleet.lose_copy_and_host()
    fleet.damaged.add(fleet.givers[0])
    assert (await fleet.heal()).failures == ()
    assert fleet.fetches() == [(fleet.givers[0], "its copy is damaged"), (fleet.givers[1], "")]
    assert sorted(fleet.running()) == ["web.0", "web.1", "web.2", "web.3"]
    assert digest_of(fleet.kept.path(fleet.digest)) == fleet.digest


@story
async def test_a_link_that_breaks_during_the_fetch_is_opened_again(fleet):
    await fleet.lose_copy_and_host()
    fleet.lose(fleet.givers[0], "fetch", "after")
    assert (await fleet.heal()).failures == ()
    assert fleet.fetches() == [(fleet.givers[0], "")]
    assert fleet.left_aside() == []


@story
async def test_where_no_reachable_host_has_it_the_upload_fails_and_says_so(fleet):
    await fleet.lose_copy_and_host()
    for machine in fleet.machines.values():
        machine.artifacts.clear()
    result = await fleet.heal()
    assert result.exit_code is ExitCode.FAILED
    assert {failure.detail for failure in result.failures} == {
        f"no copy of artifact {fleet.digest[:12]} is kept, and no reachable host has it either"
    }
    assert "deploy the job again from its build" in result.failures[0].hint
    assert fleet.fetches() == []


@story
async def test_where_every_copy_is_damaged_the_upload_fails_and_names_each(fleet):
    await fleet.lose_copy_and_host()
    fleet.damaged |= fleet.machines.keys()
    result = await fleet.heal()
    assert result.exit_code is ExitCode.FAILED
    told = "; ".join(f"{host}: its copy is damaged" for host in fleet.givers)
    assert [failure.detail for failure in result.failures] == [
        f"no copy of artifact {fleet.digest[:12]} is kept, and it could not be fetched back ({told})"
    ]
    with pytest.raises(StateError):
        fleet.kept.path(fleet.digest)
    assert fleet.left_aside() == []


@story
async def test_where_this_machine_can_not_write_no_other_host_is_asked(fleet, monkeypatch):
    await fleet.lose_copy_and_host()

    def full(*_):
        raise StateError("no space is left here")

    monkeypatch.setattr(fleet.kept, "take_back", full)
    result = await fleet.heal()
    assert fleet.fetches() == [(fleet.givers[0], "no space is left here")]
    assert "no space is left here" in result.failures[0].detail
