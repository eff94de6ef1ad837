"""From whom a lost copy is fetched back: who answers, is ours and has it; healthy hosts first."""

from fleetctl.model.instant import Instant
from fleetctl.model.job import Digest
from fleetctl.model.plan import Plan, Stage, Upload
from fleetctl.model.replica import Generation
from fleetctl.model.resources import Bytes, MilliCpu
from fleetctl.model.snapshot import Facts, Guard, HostReport, Reachable, Silence, Snapshot, Unreachable
from fleetctl.model.verdict import Health, HostVerdict
from fleetctl.plan.sources import needed, sources

A, B = Digest("a" * 64), Digest("b" * 64)


def has(*artifacts, fleet="test"):
    facts = Facts(MilliCpu(1000), Bytes(1), Bytes(1), Bytes(1))
    guard = Guard(Generation(1), "me")
    return Reachable(HostReport(1, "boot", guard, facts, fleet=fleet, artifacts=frozenset(artifacts)), "10.0.0.1")


def asked(hosts, **healths):
    verdicts = {name: HostVerdict(healths.get(name, Health.HEALTHY), "", Instant(0)) for name in hosts}
    return sources(Snapshot(Instant(0), hosts), verdicts, "test", A)


def test_only_hosts_that_have_it_are_asked_in_the_order_of_their_names():
    assert asked({"h3": has(A), "h2": has(B), "h1": has(A, B)}) == ("h1", "h3")


def test_a_host_we_doubt_is_asked_last():
    assert asked({"h1": has(A), "h2": has(A), "h3": has(A)}, h1=Health.BROKEN) == ("h2", "h3", "h1")


def test_neither_a_silent_host_nor_another_fleets_is_asked():
    assert asked({"h1": Unreachable(Silence.SILENT, "", 3), "h2": has(A, fleet="theirs"), "h3": has(A)}) == ("h3",)


def test_each_artifact_that_a_plan_uploads_is_needed_once():
    def upload(host, artifact, job):
        return Upload(host, Generation(2), artifact, job, "for web.0")

    stage = Stage((upload("h1", A, "web"), upload("h2", A, "web"), upload("h1", B, "api")))
    assert needed(Plan(Generation(2), (stage,), (), {})) == {A: "web", B: "api"}
