"""What is read from the store is equal to what was written."""

import datetime as dt
import json
import math
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetctl.errors import StateError, UsageError
from fleetctl.model.job import JobSpec, Probe, RestartPolicy, UpdatePolicy
from fleetctl.model.memory import Cordon, Failure, HostMemory, Incident
from fleetctl.model.plan import Action, AwaitReady, Held, HeldKind, Start, Stop, Upload
from fleetctl.model.snapshot import Phase, Problem, ProblemKind
from fleetctl.model.template import Template
from fleetctl.model.verdict import HostVerdict
from fleetctl.state.identity import Process
from fleetctl.state.records import ACTION_KINDS, TEXT_MAX, cut, dump, dump_spec, load, load_tuple
from tests.unit.state.values import any_value

# Written by the versions before liveness, restart policies and usage: kept as they were, for stores last that long.
OLD_SPEC = (
    '{"name":"web","hosts":"app","command":["./web",{"source":"{{ address }}:{{ ports.http }}",'
    '"variables":[["v","1.4.2"]]}],"replicas":3,"env":[["LOG_LEVEL","info"]],"ports":[{"name":"http",'
    '"fixed":null}],"resources":{"cpu":500,"memory":268435456,"disk":0},"constraints":[{"label":"zone",'
    '"operator":"!=","value":"c"}],"spread":"zone","ready":{"kind":"http","port":"http",'
    '"path":"/healthz","interval_s":2.0,"timeout_s":1.0,"failures":3,"successes":1,"grace_s":0.0},'
    '"stop":{"signal":"TERM","timeout_s":30.0,"drain_s":0.0},"update":{"max_unavailable":"25%",'
    '"min_healthy_s":10.0,"deadline_s":300.0},"log":{"size":10485760,"keep":5}}'
)
OLD_HOST = (
    '{"last_address":"10.0.0.1","silent_runs":0,"silent_since":null,"verdict":null,'
    '"instances":[{"name":{"replica":{"job":"web","index":1},"epoch":47},"release":3,"phase":"stuck",'
    '"ports":[["http",20017]],"address":"10.0.0.1","artifact":null,"resources":{"cpu":500,"memory":0,'
    '"disk":0},"pid":4711,"ready_for_s":null,"ever_ready":true,"restarts":2,"last_exit":"exited 42",'
    '"reason":"","problem":{"kind":"crash_looping","detail":"5 exits","port":null,"pid":null},'
    '"age_s":0.0,"dropped":0,"stuck_pids":[9]}],"spec":null,"host_id":"","answered":null,"turns":[],'
    '"behind":[]}'
)

TEMPLATE = Template("{{ address }}:{{ ports.http }}", (("v", "1.4.2"),))
STORED = (JobSpec, HostMemory, Cordon, Failure, Incident, HostVerdict, Held, Upload, Start, AwaitReady, Stop, Process)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(STORED).flatmap(lambda kind: st.tuples(st.just(kind), any_value(kind))))
def test_a_value_comes_back_equal_in_every_field(drawn):
    kind, value = drawn
    text = dump(kind, value)
    back = load(kind, text, what="it")
    assert back == value
    assert orderless(dump(kind, back)) == orderless(text)  # also the fields that equality leaves out


def orderless(text):
    """What a set is written down as has no order; that of tuples is seen to by equality."""

    def sorted_words(value):
        if isinstance(value, dict):
            return {name: sorted_words(inner) for name, inner in value.items()}
        if isinstance(value, list):
            inner = [sorted_words(one) for one in value]
            return sorted(inner) if all(isinstance(one, str) for one in inner) else inner
        return value

    return sorted_words(json.loads(text))


@given(any_value(JobSpec))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_spec_that_yaml_can_give_can_be_kept(spec):
    assert load(JobSpec, dump_spec(spec), what="it") == spec


def test_a_template_stays_a_template_and_text_that_looks_like_one_stays_text():
    spec = JobSpec(
        "web", "app", ("{{ address }}", Template("{{ address }}", (("v", [1, {"a": None}]),)), '{"source": ""}')
    )
    assert load(JobSpec, dump_spec(spec), what="it").command == spec.command


def test_a_percentage_stays_text_and_a_count_a_number():
    for max_unavailable in ("25%", "2", 2):
        spec = JobSpec("web", "app", ("w",), update=UpdatePolicy(max_unavailable))
        back = load(JobSpec, dump_spec(spec), what="it").update.max_unavailable
        assert (type(back), back) == (type(max_unavailable), max_unavailable)


@pytest.mark.parametrize("value", [dt.date(2026, 1, 5), math.nan, {1: "integer key"}, (1, 2), "\udc80"])
def test_a_spec_that_would_come_back_different_is_refused_by_the_name_of_its_job(value):
    spec = JobSpec("web", "app", (Template("{{ address }}{{ v }}", (("v", value),)),))
    with pytest.raises(UsageError, match="job web"):
        dump_spec(spec)


def test_a_host_that_sends_broken_text_does_not_keep_the_rest_from_being_stored():
    held = Held("web.0", HeldKind.STUCK, "not \udc80 text")
    assert load(Held, dump(Held, held), what="it").reason == "not ? text"
    assert load_tuple(str, dump(tuple[str, ...], ("a\udfff", "b")), what="it") == ("a?", "b")


def test_what_a_host_says_is_cut_and_holds_no_character_that_a_database_refuses():
    assert cut("a\0b") == "a?b"
    assert len(cut("x" * 1_000_000)) < TEXT_MAX + 100


def test_a_release_of_an_earlier_version_is_read_with_what_its_new_keys_stand_for():
    spec = load(JobSpec, OLD_SPEC, what="release 3 of web")
    ready = Probe("http", "http", "/healthz", status=(200, 399), header=(), body="", command=())
    assert (spec.ready, spec.alive, spec.restart) == (ready, None, RestartPolicy())
    assert (spec.log.when_full, spec.pids, spec.core) == ("drop", 0, False)
    assert (spec.command[1], spec.update, spec.spread) == (TEMPLATE, UpdatePolicy("25%"), "zone"), "what it had"
    assert load(JobSpec, dump_spec(spec), what="it") == spec


def test_what_an_earlier_version_remembered_of_a_host_is_read():
    (row,) = load(HostMemory, OLD_HOST, what="host h1").instances
    assert (row.phase, row.problem, row.pid) == (Phase.STUCK, Problem(ProblemKind.CRASH_LOOPING, "5 exits"), 4711)
    assert (row.stuck, row.usage, row.story, row.said) == ((), None, None, "")


def test_a_damaged_record_is_told_with_what_it_is_and_where():
    with pytest.raises(StateError, match=r"the stored record of host h1 can't be read: silent_runs: .*integer"):
        load(HostMemory, '{"silent_runs": "many"}', what="host h1")
    with pytest.raises(StateError, match="the stored record of host h1"):
        load(HostMemory, "{", what="host h1")


def test_every_kind_of_action_can_be_read_back():
    assert set(ACTION_KINDS.values()) == set(get_args(Action))
