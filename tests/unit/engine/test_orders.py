"""What is sent with an order: everything of a release, spelled out for one placement, in the words of hosts."""

from dataclasses import replace

import pytest

from fleetctl.engine.orders import start_spec
from fleetctl.errors import FleetctlError
from fleetctl.host.spec import check_spec
from fleetctl.model.job import (
    AlivePolicy,
    Digest,
    JobSpec,
    LogPolicy,
    PortRequest,
    Probe,
    Progress,
    Release,
    RestartPolicy,
)
from fleetctl.model.plan import Start
from fleetctl.model.replica import InstanceName
from fleetctl.model.resources import Bytes
from fleetctl.model.template import Template

A = Digest("a" * 64)
ADDRESS = Template("{{ address }}:{{ ports.http }}")
WEB = JobSpec("web", "all", ("./web", ADDRESS), ports=(PortRequest("http"),))
RHYTHM = {"interval_s": 2.0, "timeout_s": 1.0, "failures": 3, "successes": 1, "grace_s": 0.0}


def sent_of(**changes):
    start = Start("h1", InstanceName.parse("web.0@1"), 1, (("http", 20000),), "10.0.0.1", "missing")
    return start_spec(start, Release(1, replace(WEB, **changes), A), fleet="test", replicas=4)


def test_an_order_to_start_has_everything_rendered():
    sent = sent_of(ready=Probe("http", "http", path="/up"))
    assert sent["argv"] == ["./web", "10.0.0.1:20000"]
    assert (sent["ready"]["port"], sent["ready"]["path"], sent["wish_replicas"]) == (20000, "/up", 4)


@pytest.mark.parametrize(
    ("probe", "asked"),
    [
        (Probe("http", "http", "/up", status=(200, 200), header=(("Content-Type", "json"),), body="ok"),
         {"port": 20000, "path": "/up", "status": [200, 200], "header": {"Content-Type": "json"}, "body": "ok"}),
        (Probe("http", "http"), {"port": 20000, "path": "/", "status": [200, 399], "header": {}, "body": ""}),
        (Probe("tcp", "http"), {"port": 20000}),
        (Probe("command", command=("./ask", ADDRESS)), {"argv": ["./ask", "10.0.0.1:20000"]}),
        (Probe("notify"), {}),
    ],
)  # fmt: skip
def test_a_probe_is_sent_with_its_port_and_its_words_finished(probe, asked):
    assert sent_of(ready=probe)["ready"] == {"kind": probe.kind, **RHYTHM, **asked}
    if probe.kind != "notify":
        alive = {"probe": {"kind": probe.kind, **RHYTHM, **asked}, "heartbeat": None, "progress": None}
        assert sent_of(alive=AlivePolicy(probe))["alive"] == alive


def test_what_an_order_says_of_liveness_restarts_limits_and_logs_is_what_hosts_take():
    sent = sent_of(
        alive=AlivePolicy(None, 300.0, Progress(600.0, metric="docs", port="http")),
        restart=RestartPolicy(0.05, 1.0, 3.0, 4, 60.0),
        log=LogPolicy(Bytes(4096), 2, "block"),
        pids=256,
        core=True,
    )
    check_spec(sent)
    check_spec(sent_of(alive=AlivePolicy(progress=Progress(file="docs.count"))))
    check_spec(sent_of())
    assert sent["alive"] == {
        "probe": None,
        "heartbeat": {"timeout_s": 300.0},
        "progress": {"stalled_s": 600.0, "metric": "docs", "port": 20000, "path": "/metrics"},
    }
    assert sent["restart"] == {
        "backoff_min_s": 0.05, "backoff_max_s": 1.0, "reset_s": 3.0, "alarm_exits": 4, "alarm_s": 60.0
    }  # fmt: skip
    assert (sent["log"]["when_full"], sent["resources"]["pids"], sent["core"]) == ("block", 256, True)


def test_a_probes_template_that_fails_there_is_told():
    with pytest.raises(FleetctlError, match=r"web.0 on h1: .* can't be rendered"):
        sent_of(ready=Probe("command", command=("x", Template("{{ ports.admin }}"))))


@pytest.mark.parametrize(
    "change",
    [
        {"ready": Probe("notify")},
        {"alive": AlivePolicy(heartbeat_s=60.0)},
        {"restart": RestartPolicy(backoff_min_s=2.0)},
        {"log": LogPolicy(when_full="block")},
        {"pids": 9},
        {"core": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_ordered_otherwise_is_another_instance(change):
    assert sent_of(**change) != sent_of()
    assert not replace(WEB, **change).runs_like(WEB)
