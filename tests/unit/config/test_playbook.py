"""A playbook becomes jobs: what each key means, what is left out, and what templates see."""

from __future__ import annotations

import pytest

from fleetctl.config.playbook import load_playbook
from fleetctl.errors import UsageError
from fleetctl.model.job import (
    AlivePolicy,
    Constraint,
    JobSpec,
    LogPolicy,
    PortRequest,
    Probe,
    Progress,
    RestartPolicy,
    StopPolicy,
    UpdatePolicy,
)
from fleetctl.model.resources import Bytes, MilliCpu, Resources
from fleetctl.model.template import Template, render

INVENTORY = """
    app:
      hosts:
        app1: {labels: {zone: a}}
        app2: {labels: {zone: b}}
        app3: {labels: {zone: c}}
    other: {hosts: o1}
"""


@pytest.fixture
def load(files):
    inventory = files.inventory(INVENTORY)

    def load(text: str, **extra):
        return load_playbook(files.write("playbooks/web.yml", text), inventory, extra)

    return load


def play(job: str, variables: str = "{}") -> str:
    return f"- hosts: app\n  vars: {variables}\n  jobs:\n    web: {job}\n"


def test_a_job_with_a_command_alone_has_the_documented_defaults(load):
    job = load(play("{command: [sleep, infinity]}")).jobs[0]

    assert job.spec == JobSpec(
        name="web",
        hosts="app",
        command=("sleep", "infinity"),
        replicas=1,
        env=(),
        ports=(),
        resources=Resources(),
        constraints=(),
        spread=None,
        ready=None,
        alive=None,
        restart=RestartPolicy(1.0, 300.0, 600.0, 5, 600.0),
        stop=StopPolicy("TERM", 30.0),
        update=UpdatePolicy(1, 10.0, 300.0),
        log=LogPolicy(Bytes(10 * 1024**2), 5, "drop"),
        pids=0,
        core=False,
    )
    assert job.artifact is None


def test_every_key_has_its_place(files, load):
    files.program("dist/web-1.4.2/web")
    job = load("""
        - name: web tier
          hosts: app
          vars: {version: 1.4.2}
          jobs:
            web:
              kind: service
              replicas: 3
              artifact: ../dist/web-{{ version }}
              command: [./web, --listen, "{{ address }}:{{ ports.http }}"]
              env: {LOG_LEVEL: info}
              ports: [http, admin]
              resources: {cpu: 500m, memory: 256Mi, disk: 1Gi}
              constraints: ["labels.zone != 'c'", "labels.zone == \\"a\\""]
              spread: zone
              ready: {http: /healthz, port: http, interval: 1s, timeout: 500ms, failures: 2, successes: 3, grace: 1s}
              stop: {signal: INT, drain: 5s, timeout: 10s}
              update: {max_unavailable: 25%, min_healthy: 20s, deadline: 10m}
              log: {size: 1Mi, keep: 3, when_full: drop}
    """).jobs[0]

    assert job.spec == JobSpec(
        name="web",
        hosts="app",
        command=("./web", "--listen", Template("{{ address }}:{{ ports.http }}")),
        replicas=3,
        env=(("LOG_LEVEL", "info"),),
        ports=(PortRequest("admin"), PortRequest("http")),
        resources=Resources(MilliCpu(500), Bytes(256 * 1024**2), Bytes(1024**3)),
        constraints=(Constraint("zone", "!=", "c"), Constraint("zone", "==", "a")),
        spread="zone",
        ready=Probe("http", "http", "/healthz", 1.0, 0.5, 2, 3, 1.0),
        stop=StopPolicy("INT", 10.0, 5.0),
        update=UpdatePolicy("25%", 20.0, 600.0),
        log=LogPolicy(Bytes(1024**2), 3),
    )
    assert job.artifact == files.folder / "dist/web-1.4.2"
    assert (job.file, job.line) == (str(files.folder / "playbooks/web.yml"), 6)
    assert job.eligible == ("app1", "app2", "app3")


def test_a_probe_has_the_documented_defaults_and_the_only_port(load):
    spec = load(play("{command: [x], ports: [http], ready: {tcp: true}}")).jobs[0].spec

    assert spec.ready == Probe("tcp", "http", "/", 2.0, 1.0, 3, 1, 0.0)


def test_a_page_is_asked_for_its_status_headers_and_body(load):
    page = "{http: /up, status: 200-299, header: {X-B: b, Content-Type: json}, body: all well}"
    spec = (
        load(play(f"{{command: [x], ports: [http], ready: {page}, alive: {{http: /live, status: 200}}}}")).jobs[0].spec
    )

    header = (("Content-Type", "json"), ("X-B", "b"))
    assert spec.ready == Probe("http", "http", "/up", status=(200, 299), header=header, body="all well")
    assert spec.alive == AlivePolicy(Probe("http", "http", "/live", status=(200, 200)))


def test_a_command_asks_with_what_only_a_placement_knows(load):
    ready = "{command: [ask, 1.10, '{{ address }}:{{ ports.http }}', '{{ v }}'], interval: 1s}"
    alive = "{command: [ask, --index, '{{ replica.index }}'], grace: 1m}"
    spec = load(play(f"{{command: [x], ports: [http], ready: {ready}, alive: {alive}}}", "{v: 7}")).jobs[0].spec

    address = Template("{{ address }}:{{ ports.http }}")
    assert spec.ready == Probe("command", interval_s=1.0, command=("ask", "1.10", address, "7"))
    index = Template("{{ replica.index }}")
    assert spec.alive == AlivePolicy(Probe("command", grace_s=60.0, command=("ask", "--index", index)))


def test_a_program_may_say_itself_that_it_is_ready_and_no_update_is_too_short_then(load):
    spec = load(play("{command: [x], ready: {notify: true}, update: {min_healthy: 1s}}")).jobs[0].spec

    assert spec.ready == Probe("notify")


def test_a_command_of_a_probe_is_looked_for_in_the_artifact(files, load):
    files.program("playbooks/dist/ask")

    assert load(play("{artifact: dist, command: [x], ready: {command: [./ask]}}")).jobs[0].spec.ready.command


@pytest.mark.parametrize(
    ("alive", "policy"),
    [
        ("{heartbeat: 5m}", AlivePolicy(heartbeat_s=300.0)),
        ("{progress: {file: docs.count}}", AlivePolicy(progress=Progress(600.0, file="docs.count"))),
        ("{heartbeat: 1s, progress: {metric: docs_total, stalled: 1m}}",
         AlivePolicy(None, 1.0, Progress(60.0, metric="docs_total", port="http"))),
        ("{tcp: true, progress: {metric: 'a:b{of=\"y\"}', port: http, path: /m}}",
         AlivePolicy(Probe("tcp", "http"), None, Progress(600.0, metric='a:b{of="y"}', port="http", path="/m"))),
    ],
)  # fmt: skip
def test_what_must_not_hang_is_watched(load, alive, policy):
    assert load(play(f"{{command: [x], ports: [http], alive: {alive}}}")).jobs[0].spec.alive == policy


def test_restarts_limits_and_logs_are_as_they_are_wished(load):
    spec = load(
        play(
            "{command: [x], restart: {backoff: 50ms..1s, reset: 3s, alarm: 3 in 1m}, resources: {pids: 256},"
            " log: {when_full: block}, core: true}"
        )
    ).jobs[0].spec  # fmt: skip

    assert spec.restart == RestartPolicy(0.05, 1.0, 3.0, 3, 60.0)
    assert (spec.pids, spec.log.when_full, spec.core) == (256, "block", True)


@pytest.mark.parametrize(
    "restart",
    [
        "{alarm: 5 in 11250ms}",  # 1, 2, 4 and 8 s, each cut by a quarter
        "{alarm: 9 in 61s, backoff: 10s..10m, reset: 10ms}",  # what was ready in between begins with 10 s each time
        "{backoff: 10ms..10ms, alarm: 1 in 1ms}",
    ],
)
def test_an_alarm_that_can_be_reached_is_fine(load, restart):
    assert load(play(f"{{command: [x], restart: {restart}}}")).jobs


def test_ports_may_be_fixed(load):
    spec = load(play("{command: [x], ports: {http: 8080, admin: }}")).jobs[0].spec

    assert spec.ports == (PortRequest("admin", None), PortRequest("http", 8080))


def test_arguments_and_environment_are_the_text_that_is_written(load):
    spec = load(play("{command: [run, 1.10, 0755, yes, 8080], env: {A: 1.10, B: true, C: 0x1F}}")).jobs[0].spec

    assert spec.command == ("run", "1.10", "0755", "yes", "8080")
    assert spec.env == (("A", "1.10"), ("B", "true"), ("C", "0x1F"))


def test_jobs_of_several_plays_have_their_own_variables_and_hosts(load):
    playbook = load("""
        - {hosts: app, vars: {x: 1}, jobs: {a: {command: ["r{{ x }}"]}}}
        - {hosts: "other:app2", vars: {x: 2}, jobs: {b: {command: ["r{{ x }}"]}, c: {command: [s]}}}
    """)

    assert [(job.spec.name, job.spec.command[0], job.eligible) for job in playbook.jobs] == [
        ("a", "r1", ("app1", "app2", "app3")),
        ("b", "r2", ("app2", "o1")),
        ("c", "s", ("app2", "o1")),
    ]


def test_a_play_may_have_no_job_left(load):
    assert load("- {hosts: app, jobs: {}}").jobs == ()


def test_reading_twice_gives_the_same_jobs(load):
    text = play("{command: [x, '{{ address }}', '{{ v.b }}'], env: {B: '1', A: '{{ replica.index }}{{ v.a }}'}}",
                "{v: {b: [2, 1], a: {y: 1, x: 2}}}")  # fmt: skip

    assert load(text) == load(text)


def test_the_order_of_keys_in_the_file_makes_no_other_release(load):
    one = load(play("{command: [x], env: {A: '1', B: '2'}, ports: [a, b]}")).jobs[0].spec
    other = load(play("{ports: [b, a], env: {B: '2', A: '1'}, command: [x]}")).jobs[0].spec

    assert one == other


# templates


def test_what_needs_no_placement_is_rendered_at_once(load):
    spec = load(play("{command: [x, 'v{{ version }}']}", "{version: 1.4.2}")).jobs[0].spec

    assert spec.command == ("x", "v1.4.2")


def test_what_needs_a_placement_waits_with_the_variables_it_uses(load):
    job = play("{command: [x, '{{ address }}/{{ version }}'], ports: [http]}", "{version: 1.4.2, unused: 1}")
    text = load(job).jobs[0].spec.command[1]

    assert text == Template("{{ address }}/{{ version }}", (("version", "1.4.2"),))
    assert render(text, address="10.0.0.1", ports={"http": 20001}, index=0) == "10.0.0.1/1.4.2"


def test_variables_may_use_each_other_in_any_order(load):
    variables = "{full: 'web-{{ version }}', version: '{{ major }}.2', major: 3}"

    assert load(play("{command: ['{{ full }}']}", variables)).jobs[0].spec.command == ("web-3.2",)


def test_extra_variables_win(load):
    spec = load(play("{command: ['{{ full }}']}", "{version: '1', full: 'w{{ version }}'}"), version="2").jobs[0].spec

    assert spec.command == ("w2",)


def test_an_extra_variable_is_taken_as_it_is(load):
    assert load(play("{command: ['{{ x }}']}"), x="{{ y }}").jobs[0].spec.command == ("{{ y }}",)


def test_any_value_may_come_from_a_variable_as_what_it_is(load):
    variables = "{n: 3, res: {cpu: 2, memory: 1Gi}, names: [http, admin], who: app2, z: b}"
    job = load(
        "- hosts: '{{ who }}'\n"
        f"  vars: {variables}\n"
        "  jobs:\n"
        "    web:\n"
        "      command: [x]\n"
        "      replicas: '{{ n }}'\n"
        "      resources: '{{ res }}'\n"
        "      ports: '{{ names }}'\n"
        "      constraints: [\"labels.zone == '{{ z }}'\"]\n"
    ).jobs[0]

    assert (job.spec.replicas, job.spec.resources.cpu, [port.name for port in job.spec.ports]) == (
        3,
        2000,
        ["admin", "http"],
    )
    assert (job.spec.hosts, job.eligible, job.spec.constraints[0].value) == ("app2", ("app2",), "b")


def test_a_default_stands_for_a_variable_that_is_not_there(load):
    assert load(play("{command: ['{{ size | default(5) }}']}")).jobs[0].spec.command == ("5",)


def test_what_looks_like_a_comment_of_a_template_is_plain_text(load):
    assert load(play("{command: [sh, -c, 'echo ${#x} %}']}")).jobs[0].spec.command[2] == "echo ${#x} %}"


def test_both_branches_of_a_template_are_tried(load, files):
    text = play("{command: [x, '{{ 1 if replica.index == 0 else nobody }}'], replicas: 2}")

    said = files.refused(load, text)

    assert said == [
        (
            'playbooks/web.yml:4: jobs.web.command[1]: "nobody" is not defined: '
            "a job's templates see the play's vars, address, ports and replica.index"
        )
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("address", 'the extra variable "address" has a name that fleetctl gives out after placement: take another'),
        ("a-b", 'the extra variable "a-b" must be named with letters, digits and _, to be used in templates'),
    ],
)
def test_an_impossible_extra_variable_is_refused(load, name, said):
    with pytest.raises(UsageError) as caught:
        load(play("{command: [x]}"), **{name: 1})
    assert caught.value.message == said


# the program


def test_a_file_as_artifact_is_the_program(load, files):
    files.program("playbooks/dist/web")

    job = load(play("{artifact: dist/web, command: [./web]}")).jobs[0]

    assert job.artifact == files.folder / "playbooks/dist/web"


def test_a_link_keeps_its_own_name(load, files):
    files.program("playbooks/web-1.4.2")
    (files.folder / "playbooks/web").symlink_to("web-1.4.2")

    assert load(play("{artifact: web, command: [./web]}")).jobs[0].artifact == files.folder / "playbooks/web"


def test_a_relative_playbook_gives_an_absolute_artifact(files, monkeypatch):
    inventory = files.inventory(INVENTORY)
    files.program("playbooks/dist/web")
    path = files.write("playbooks/web.yml", play("{artifact: dist, command: [./web]}"))
    monkeypatch.chdir(files.folder)

    playbook = load_playbook(path.relative_to(files.folder), inventory)

    assert playbook.jobs[0].artifact == files.folder / "playbooks/dist"
    assert playbook.jobs[0].file == "playbooks/web.yml"


def test_programs_of_the_host_are_left_to_the_host(load):
    assert load(play("{command: [/bin/sleep, 5]}")).jobs
    assert load(play("{command: [sleep, 5]}")).jobs


def test_the_smallest_values_that_can_work_do(load):
    spec = (
        load(
            play(
                "{command: [x], ports: [a], stop: {timeout: 1ms, drain: 0s}, log: {size: 4Ki, keep: 1},"
                " ready: {tcp: true, interval: 100ms, timeout: 1ms, failures: 1},"
                " update: {min_healthy: 101ms, deadline: 202ms, max_unavailable: 0}}"
            )
        )
        .jobs[0]
        .spec
    )

    assert (spec.stop.timeout_s, spec.log, spec.update) == (
        0.001,
        LogPolicy(Bytes(4096), 1),
        UpdatePolicy(0, 0.101, 0.202),
    )


def test_without_a_probe_any_time_of_running_may_count(load):
    assert load(play("{command: [x], update: {min_healthy: 1ms}}")).jobs[0].spec.update.min_healthy_s == 0.001
