"""Everything that is refused in a playbook, word for word, with file, line and path."""

from __future__ import annotations

import pytest

from fleetctl.config.playbook import load_playbook
from fleetctl.config.shapes import (
    AliveShape,
    JobShape,
    LogShape,
    PlayShape,
    ProgressShape,
    ReadyShape,
    ResourcesShape,
    RestartShape,
    StopShape,
    UpdateShape,
)

INVENTORY = """
    all: {vars: {fleet: prod, region: eu}}
    app:
      hosts:
        app1: {labels: {zone: a}, rack: 5}
        app2: {labels: {zone: b}}
        app3: {labels: {zone: c}}
    bare: {hosts: b1}
"""
SEEN = "a job's templates see the play's vars, address, ports and replica.index"


@pytest.fixture
def refused(files):
    """What is said of a playbook, each line without the playbook's name."""
    inventory = files.inventory(INVENTORY)

    def refused(text: str) -> list[str]:
        path = files.write("web.yml", text)
        return [line.removeprefix("web.yml:") for line in files.refused(load_playbook, path, inventory)]

    return refused


@pytest.fixture
def refused_job(refused):
    """What is said of a job in line 3 whose keys begin in line 4."""

    def refused_job(*keys: str) -> list[str]:
        lines = ["- hosts: app", "  jobs:", "    web:", *(f"      {key}" for key in keys)]
        return [said.replace(": jobs.web.", ": ").replace(": jobs.web:", ":") for said in refused("\n".join(lines))]

    return refused_job


def test_the_error_of_the_design(refused):
    said = refused("- hosts: app\n  jobs:\n    web:\n      command: [x]\n      repicas: 4\n")

    assert said == ['5: jobs.web.repicas: unknown key (did you mean "replicas"?)']


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", [" is empty: a playbook is a list of plays"]),
        ("[]", ["1: is empty: a playbook is a list of plays"]),
        ("jobs: {}", ["1: a playbook is a list of plays, each beginning with a dash, not a mapping"]),
        ("- web", ['1: a play is a mapping with hosts and jobs, not "web"']),
        ("- {}", ['1: missing key "hosts"', '1: missing key "jobs"']),
        ("- hosts: app", ['1: missing key "jobs"']),
        ("- {hosts: app, jobs: }", ["1: jobs: must be a mapping, not empty"]),
        ("- {hosts: app, jobs: [web]}", ["1: jobs: must be a mapping, not a list"]),
        ("- {hosts: [app], jobs: {}}", ["1: hosts: must be text, not a list"]),
        ("- {hosts: ap, jobs: {}}", ['1: hosts: no host or group matches "ap" (did you mean "app"?)']),
        ("- {hosts: 'all:!typo', jobs: {}}", ['1: hosts: no host or group matches "typo"']),
        ("- {hosts: 'app:!app', jobs: {}}", ['1: hosts: the pattern "app:!app" leaves no host']),
        ("- {hosts: '{{ where }}', jobs: {}}", [f'1: hosts: "where" is not defined: {SEEN}']),
        ("- {hosts: app, jobs: {}, name: 5}", ["1: name: must be text, not 5"]),
        ("- {hosts: app, jobs: {}, tasks: []}", ["1: tasks: not supported yet: tasks"]),
        ("- {include: memcached.yml}",
         ['1: missing key "hosts"', '1: missing key "jobs"', "1: include: not supported yet: include"]),
        ("- {hosts: app, jobs: {}, job: 1}", ['1: job: unknown key (did you mean "jobs"?)']),
        ("- {hosts: app, jobs: {}, become: yes}", ["1: become: unknown key: known are hosts, jobs, name, vars"]),
        ("- {hosts: app, jobs: {}, vars: []}", ["1: vars: must be a mapping, not a list"]),
        ("- {hosts: app, jobs: {web: }}",
         ["1: jobs.web: must be a mapping with at least a command, not empty"]),
        ("- {hosts: app, jobs: {Web: {command: [x]}}}",
         ['1: jobs.Web: "Web" is not a name for a job: lower-case letters, digits, - and _, at most 63']),
        ("- {hosts: app, jobs: {8: {command: [x]}}}",
         ['1: jobs[8]: "8" is not a name for a job: lower-case letters, digits, - and _, at most 63']),
        ("- hosts: app\n  jobs:\n    web: {command: [x]}\n    web: {command: [x]}\n",
         ["4: jobs.web: duplicate key (first in line 3)"]),
        ("- {hosts: app, jobs: {web: {command: [x]}}}\n\n- {hosts: bare, jobs: {web: {command: [x]}}}",
         ["3: jobs.web: is there twice: first in line 1"]),
    ],
)  # fmt: skip
def test_a_play_that_can_not_be_meant_is_refused(refused, text, said):
    assert refused(text) == said


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("replicas: 0", "replicas: must be at least 1, not 0"),
        ("replicas: 1000001", "replicas: must be at most 1000000, not 1000001"),
        ("replicas: four", 'replicas: must be a whole number, not "four"'),
        ("replicas: '4'", "replicas: must be a whole number, not text: no quotes, or | int in the template"),
        ("replicas: 2.5", "replicas: must be a whole number, not 2.5"),
        ("replicas: true", "replicas: must be a whole number, not true"),
        ("replicas:", "replicas: must be a whole number, not empty"),
        ("kind: batch", "kind: not supported yet: kind batch"),
        ("kind: daemon", "kind: not supported yet: kind daemon"),
        ("kind: sevice", 'kind: must be service, not "sevice"'),
        ("env: [A=1]", "env: must be a mapping, not a list"),
        ("env: {A: }", "env.A: must be text, not empty"),
        ("env: {A: [1]}", "env.A: must be text, not a list"),
        ("env: {a-b: x}", 'env.a-b: "a-b" is not a name for an environment variable'),
        ("env: {FLEETCTL_HOST: x}", "env.FLEETCTL_HOST: is set by fleetctl itself"),
        ("env: {NOTIFY_SOCKET: x}", "env.NOTIFY_SOCKET: is set by fleetctl itself"),
        ("env: {WATCHDOG_USEC: '5'}", "env.WATCHDOG_USEC: is set by fleetctl itself"),
        ('env: {A: "a\\0b"}', "env.A: must not contain a NUL character"),
        (f"env: {{A: {'a' * 128_001}}}",
         "env.A: must have at most 128000 bytes: no program can be given more in one piece"),
        ("ports: http", 'ports: must be a mapping, not "http"'),
        ("ports: [8080]", "ports: must be a list of names, or a mapping from names to numbers; 8080 is no name"),
        ("ports: [http, http]", 'ports: has "http" twice'),
        ("ports: [my-port]",
         'ports.my-port: "my-port" is not a name for a port: lower-case letters, digits and _, such as http'),
        ("ports: [HTTP]",
         'ports.HTTP: "HTTP" is not a name for a port: lower-case letters, digits and _, such as http'),
        ("ports: [http_]", 'ports.http_: "http_" is not a name for a port: it ends with _'),
        ("ports: [items]", "ports.items: is no name for a port: ports.items means something else in a template"),
        ("ports: {http: 0}", "ports.http: must be a port from 1 to 65535, not 0"),
        ("ports: {http: 65536}", "ports.http: must be a port from 1 to 65535, not 65536"),
        ("ports: {http: auto}", "ports.http: must be a port from 1 to 65535, not auto"),
        ("ports: {a: 80, b: 80}", 'ports.b: is 80, as "a" is'),
        ("resources: 5", "resources: must be a mapping, not 5"),
        ("resources: {cpu: much}", 'resources.cpu: must be a number of cores such as 2, 1.5 or 500m, not "much"'),
        ("resources: {memory: 256}", "resources.memory: needs a unit: 256Mi, 256Gi or 256M"),
        ("resources: {memory: 1GB}",
         'resources.memory: must be a size such as 256Mi, 2Gi or 500M, not "1GB" (did you mean 1G?)'),
        ("resources: {memory: 256Ki}",
         "resources.memory: must be at least 1Mi, or 0: it bounds what a program may use"),
        ("resources: {mem: 1Gi}", 'resources.mem: unknown key (did you mean "memory"?)'),
        ("resources: {pids: -1}", "resources.pids: must be at least 0, not -1"),
        ("resources: {pids: 4194305}", "resources.pids: must be at most 4194304, not 4194305"),
        ("resources: {pids: 256k}", 'resources.pids: must be a whole number, not "256k"'),
        ("resources: {gpu: 1}", "resources.gpu: not supported yet: gpu"),
        ("constraints: labels.zone != 'c'", "constraints: must be a list, not \"labels.zone != 'c'\""),
        ("constraints: [zone != c]",
         "constraints[0]: must be like labels.zone == 'a' or labels.zone != 'a', not \"zone != c\""),
        ("constraints: [\"labels.zone = 'a'\"]",
         "constraints[0]: must be like labels.zone == 'a' or labels.zone != 'a', not \"labels.zone = 'a'\""),
        ("constraints: [\"labels.zoen != 'a'\"]",
         'constraints: no host of "app" has a label "zoen" (did you mean "zone"?)'),
        ("constraints: [\"labels.zone == 'x'\"]", "constraints: no host of \"app\" has labels.zone == 'x'"),
        ("spread: zoen", 'spread: no host of "app" has a label "zoen" (did you mean "zone"?)'),
        ("spread: [zone]", "spread: must be text, not a list"),
        ("stop: 30s", 'stop: must be a mapping, not "30s"'),
        ("stop: {timeout: 30}", "stop.timeout: needs a unit: 30s, 30m or 30h"),
        ("stop: {timeout: 0s}", "stop.timeout: must be longer than 0s"),
        ("stop: {signal: TREM}", 'stop.signal: must be a signal such as TERM, INT or QUIT, not "TREM"'),
        ("stop: {signal: 15}", "stop.signal: must be a signal such as TERM, INT or QUIT, not 15"),
        ("stop: {drain: 5}", "stop.drain: needs a unit: 5s, 5m or 5h"),
        ("stop: {drain: -5s}", 'stop.drain: must be a duration such as 500ms, 10s, 5m or 2h, not "-5s"'),
        ("update: {canary: 0}", "update.canary: not supported yet: canary"),
        ("update: {auto_revert: false}", "update.auto_revert: not supported yet: auto_revert"),
        ("update: {max_unavailable: -1}",
         "update.max_unavailable: must be a count of replicas or a percentage such as 25%, not -1"),
        ("update: {max_unavailable: 101%}",
         'update.max_unavailable: must be a count of replicas or a percentage such as 25%, not "101%"'),
        ("update: {max_unavailable: '2'}",
         'update.max_unavailable: must be a count of replicas or a percentage such as 25%, not "2"'),
        ("update: {max_unavailable: true}",
         "update.max_unavailable: must be a count of replicas or a percentage such as 25%, not true"),
        ("update: {min_healthy: 0s}", "update.min_healthy: must be longer than 0s: such an update always succeeds"),
        ("update: {deadline: 10s}",
         "update.deadline: must be longer than 10s (min_healthy): such an update always fails"),
        ("log: {size: 1Ki}", "log.size: must be at least 4Ki"),
        ("log: {keep: 0}", "log.keep: must be at least 1, not 0"),
        ("log: {when_full: wait}", 'log.when_full: must be drop or block, not "wait"'),
        ("log: {max: 5}", "log.max: unknown key: known are keep, size, when_full"),
        ("core: 1", "core: must be true or false, not 1"),
        ("restart: always", 'restart: must be a mapping, not "always"'),
        ("restart: {backof: 1s..5m}", 'restart.backof: unknown key (did you mean "backoff"?)'),
        ("restart: {backoff: 5s}",
         'restart.backoff: must be the shortest and the longest pause, such as 1s..5m, not "5s"'),
        ("restart: {backoff: 1..5m}", "restart.backoff: needs a unit: 1s, 1m or 1h"),
        ("restart: {backoff: 5m..1s}", "restart.backoff: must begin with the shorter pause, as 1s..5m does"),
        ("restart: {backoff: 0s..1s}",
         "restart.backoff: must begin with at least 10ms, not 0s: a loop without a pause is load"),
        ("restart: {reset: 0s}", "restart.reset: must be longer than 0s"),
        ("restart: {alarm: 5}",
         "restart.alarm: must be how many exits, at most 10000, in which time: 5 in 10m, not 5"),
        ("restart: {alarm: 0 in 10m}",
         'restart.alarm: must be how many exits, at most 10000, in which time: 5 in 10m, not "0 in 10m"'),
        ("restart: {alarm: 5 in 10}", "restart.alarm: needs a unit: 10s, 10m or 10h"),
        ("restart: {alarm: 5 in 11s}",
         ("restart.alarm: 5 in 11s would never be told: with pauses of 1s..5m, 5 exits take at least 11.25s")),
        ("restart: {alarm: 9 in 1m, backoff: 10s..20s, reset: 1h}",
         ("restart.alarm: 9 in 1m would never be told: with pauses of 10s..20s, 9 exits take at least 112.5s")),
        ("artifact: 5", "artifact: must be the path of a file or folder, not 5"),
        ("artifact: {url: 'https://x', sha256: abc}", "artifact: not supported yet: url"),
        ("artifact: web.tar.gz", "artifact: not supported yet: archive (unpack it and name the folder)"),
    ],
)  # fmt: skip
def test_a_value_that_can_not_be_meant_is_refused(refused_job, key, said):
    assert refused_job(key, "command: [x]") == [f"4: {said}"]


@pytest.mark.parametrize(
    "key",
    ["secrets", "priority", "reschedule", "evict", "data", "exclusive", "shell"],
)
def test_a_key_of_a_feature_to_come_is_refused_by_name(refused_job, key):
    assert refused_job("command: [x]", f"{key}: 1") == [f"5: {key}: not supported yet: {key}"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["ready: /healthz"], '5: ready: must be a mapping, not "/healthz"'),
        (["ready: {}"], "5: ready: needs one of http, tcp, command and notify"),
        (["ready: {http: /, tcp: true}"], "5: ready: has both http and tcp"),
        (["ready: {http: /}"], "5: ready: needs a port, and the job has none"),
        (["ready: {http: /}", "ports: [a, b]"], "5: ready: needs a port: one of a, b"),
        (["ready: {http: /, port: http}"], '5: ready.port: the job has no port "http": its ports are none'),
        (["ready: {http: /, port: htp}", "ports: [http]"],
         '5: ready.port: the job has no port "htp" (did you mean "http"?)'),
        (["ready: {http: /, port: 80}", "ports: [http]"],
         "5: ready.port: must be the name of one of the job's ports, not 80"),
        (["ready: {http: healthz}", "ports: [http]"],
         '5: ready.http: must be a path such as /healthz, not "healthz"'),
        ([f"ready: {{http: /{'a' * 2000}}}", "ports: [http]"], "5: ready.http: must have at most 2000 characters"),
        (["ready: {http: /a b}", "ports: [http]"], '5: ready.http: must be a path such as /healthz, not "/a b"'),
        (["ready: {tcp: http}", "ports: [http]"], "5: ready.tcp: must be true; the port's name goes into port"),
        (["ready: {command: x -y}"],
         "5: ready.command: must be a list of arguments, no shell runs it: [x, -y]"),
        (["ready: {command: []}"], "5: ready.command: must name at least the program to run"),
        (["ready: {command: ['']}"], "5: ready.command: must name at least the program to run"),
        (["ready: {command: [./ask]}"],
         "5: ready.command[0]: ./ask is taken from the artifact, and the job has none"),
        (["ready: {command: [x, '{{ ports.htp }}']}", "ports: [http]"],
         '5: ready.command[1]: the job has no port "htp" (did you mean "http"?)'),
        (["ready: {command: [x], port: http}", "ports: [http]"], "5: ready.port: goes with http and tcp only"),
        (["ready: {tcp: true, status: 200}", "ports: [a]"], "5: ready.status: goes with http only"),
        (["ready: {http: /, notify: true}", "ports: [a]"], "5: ready: has both http and notify"),
        (["ready: {notify: false}"], "5: ready.notify: must be true: the program says READY=1 on NOTIFY_SOCKET"),
        (["ready: {notify: true, grace: 5s}"], "5: ready.grace: goes with http, tcp and command only"),
        (["ready: {http: /, status: ok}", "ports: [a]"],
         '5: ready.status: must be a status such as 200 or a range such as 200-299, not "ok"'),
        (["ready: {http: /, status: 700}", "ports: [a]"],
         "5: ready.status: must be a status such as 200 or a range such as 200-299, not 700"),
        (["ready: {http: /, status: 299-200}", "ports: [a]"],
         "5: ready.status: must begin with the smaller number, as 200-299 does"),
        (["ready: {http: /, header: {'a b': x}}", "ports: [a]"],
         '5: ready.header.a b: "a b" is not a name for a header'),
        (["ready: {http: /, header: {Age: 5}}", "ports: [a]"], "5: ready.header.Age: must be text, not 5"),
        (["ready: {http: /, body: ''}", "ports: [a]"], "5: ready.body: must have 1 to 1000 characters"),
        (["ready: {htp: /}"], '5: ready.htp: unknown key (did you mean "http"?)'),
        (["ready: {tcp: true, interval: 2}", "ports: [a]"], "5: ready.interval: needs a unit: 2s, 2m or 2h"),
        (["ready: {tcp: true, interval: 50ms}", "ports: [a]"], "5: ready.interval: must be at least 100ms"),
        (["ready: {tcp: true, timeout: 0s}", "ports: [a]"], "5: ready.timeout: must be longer than 0s"),
        (["ready: {tcp: true, failures: 0}", "ports: [a]"], "5: ready.failures: must be at least 1, not 0"),
        (["ready: {tcp: true, successes: 1.5}", "ports: [a]"],
         "5: ready.successes: must be a whole number, not 1.5"),
    ],
)  # fmt: skip
def test_a_probe_that_can_not_work_is_refused(refused_job, keys, said):
    assert refused_job("command: [x]", *keys) == [said]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["alive: 5m"], '5: alive: must be a mapping, not "5m"'),
        (["alive: {}"], "5: alive: needs one of http, tcp, command, heartbeat and progress"),
        (["alive: {notify: true}"],
         ("5: alive.notify: unknown key: known are body, command, failures, grace, header, heartbeat, http, interval, "
         "port, progress, status, successes, tcp, timeout")),
        (["alive: {hartbeat: 5m}"], '5: alive.hartbeat: unknown key (did you mean "heartbeat"?)'),
        (["alive: {heartbeat: 5m, timeout: 1s}"], "5: alive.timeout: goes with http, tcp and command only"),
        (["alive: {heartbeat: 500ms}"], "5: alive.heartbeat: must be at least 1s: a busy host would end what is well"),
        (["alive: {http: /livez}"], "5: alive: needs a port, and the job has none"),
        (["alive: {tcp: true, port: htp}", "ports: [http]"],
         '5: alive.port: the job has no port "htp" (did you mean "http"?)'),
        (["alive: {tcp: true, interval: 50ms}", "ports: [a]"], "5: alive.interval: must be at least 100ms"),
        (["alive: {tcp: true, timeout: 0s}", "ports: [a]"], "5: alive.timeout: must be longer than 0s"),
        (["alive: {command: [bin/ask]}"],
         "5: alive.command[0]: bin/ask is taken from the artifact, and the job has none"),
        (["alive: {progress: {}}"], "5: alive.progress: needs one of file and metric"),
        (["alive: {progress: {stall: 5m, file: a}}"],
         '5: alive.progress.stall: unknown key (did you mean "stalled"?)'),
        (["alive: {progress: {file: a, metric: b}}", "ports: [a]"], "5: alive.progress: has both file and metric"),
        (["alive: {progress: {file: /tmp/a}}"],
         '5: alive.progress.file: must be a path below the working folder such as docs.count, not "/tmp/a"'),
        (["alive: {progress: {file: a/../b}}"],
         '5: alive.progress.file: must be a path below the working folder such as docs.count, not "a/../b"'),
        (["alive: {progress: {file: a, port: a}}", "ports: [a]"], "5: alive.progress.port: goes with metric only"),
        (["alive: {progress: {file: a, stalled: 0s}}"],
         "5: alive.progress.stalled: must be at least 1s: a busy host would end what is well"),
        (["alive: {progress: {metric: docs total}}", "ports: [a]"],
         ("5: alive.progress.metric: must be the name of a metric, as its page has it: docs_total, or with its labels "
         'and without spaces, not "docs total"')),
        (["alive: {progress: {metric: docs}}"], "5: alive.progress: needs a port, and the job has none"),
        (["alive: {progress: {metric: docs}}", "ports: [a, b]"], "5: alive.progress: needs a port: one of a, b"),
        (["alive: {progress: {metric: docs, port: c}}", "ports: [a, b]"],
         '5: alive.progress.port: the job has no port "c": its ports are a, b'),
    ],
)  # fmt: skip
def test_a_watchdog_that_can_not_work_is_refused(refused_job, keys, said):
    assert refused_job("command: [x]", *keys) == [said]


@pytest.mark.parametrize(
    ("ready", "update", "said"),
    [
        ("{tcp: true}", "{min_healthy: 6s}",
         ("min_healthy: 6s is shorter than the 7s in which the ready probe notices a failure (3 failures, 2s apart): "
         "such an update always succeeds")),
        ("{command: [x]}", "{min_healthy: 6s}",
         ("min_healthy: 6s is shorter than the 7s in which the ready probe notices a failure (3 failures, 2s apart): "
         "such an update always succeeds")),
        ("{tcp: true, interval: 1m}", "{}",
         ("min_healthy: 10s is shorter than the 181s in which the ready probe notices a failure "
         "(3 failures, 1m apart): such an update always succeeds")),
        ("{tcp: true, timeout: 5s}", "{}",
         ("min_healthy: 10s is shorter than the 20s in which the ready probe notices a failure "
         "(3 failures, 2s apart): such an update always succeeds")),
        ("{tcp: true, grace: 30s}", "{}",
         ("min_healthy: 10s is shorter than the 37s in which the ready probe notices a failure "
         "(30s of grace, 3 failures, 2s apart): such an update always succeeds")),
        ("{tcp: true, interval: 100ms, timeout: 100ms, successes: 3}", "{min_healthy: 600ms, deadline: 900ms}",
         ("deadline: must be longer than 900ms (300ms until ready and 600ms of min_healthy): "
          "such an update always fails")),
        ("{tcp: true, successes: 10}", "{deadline: 30s}",
         "deadline: must be longer than 30s (20s until ready and 10s of min_healthy): such an update always fails"),
    ],
)  # fmt: skip
def test_an_update_that_can_only_end_one_way_is_refused(refused_job, ready, update, said):
    where = "4: update." if update != "{}" else "3: update."
    keys = ["command: [x]", f"ready: {ready}", "ports: [a]"]

    assert refused_job(*([f"update: {update}"] if update != "{}" else []), *keys) == [where + said]


@pytest.mark.parametrize(
    ("ready", "min_healthy"),
    [("{tcp: true}", "7s"), ("{tcp: true, interval: 100ms, timeout: 200ms, failures: 2}", "600ms")],
)
def test_a_window_as_long_as_noticing_takes_is_enough(files, ready, min_healthy):
    inventory = files.inventory(INVENTORY)
    job = f"{{command: [x], ports: [a], ready: {ready}, update: {{min_healthy: {min_healthy}, deadline: 10s}}}}"

    assert load_playbook(files.write("web.yml", f"- {{hosts: app, jobs: {{web: {job}}}}}"), inventory).jobs


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["replicas: 3", "update: {max_unavailable: 0}"],
         ("must be at least 1: port http is fixed to 80, so a new copy needs a host without an old one, and "
         "3 replicas fill all 3")),
        (["replicas: 3", "update: {max_unavailable: 30%}"],
         ("must be at least 1 (30% of 3 is 0): port http is fixed to 80, so a new copy needs a host without "
         "an old one, and 3 replicas fill all 3")),
        (["replicas: 1", "update: {max_unavailable: 0}", "constraints: [\"labels.zone == 'a'\"]"],
         ("must be at least 1: port http is fixed to 80, so a new copy needs a host without an old one, and "
         "there is one host")),
    ],
)  # fmt: skip
def test_no_budget_where_no_surge_is_possible_is_refused(refused_job, keys, said):
    assert refused_job("command: [x]", "ports: {http: 80}", *keys) == [f"7: update.max_unavailable: {said}"]


@pytest.mark.parametrize(
    "job",
    [
        "{command: [x], ports: {http: 80}, replicas: 2, update: {max_unavailable: 0}}",
        "{command: [x], ports: {http: 80}, replicas: 3}",
        "{command: [x], ports: [http], replicas: 3, update: {max_unavailable: 0}}",
        "{command: [x], ports: {http: 80}, replicas: 4, update: {max_unavailable: 25%}}",
    ],
)
def test_no_budget_is_fine_where_a_new_copy_has_room_and_a_budget_where_it_has_none(files, job):
    inventory = files.inventory(INVENTORY)

    assert load_playbook(files.write("web.yml", f"- {{hosts: app, jobs: {{web: {job}}}}}"), inventory).jobs


# command and artifact


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("./web --port 80", "command: must be a list of arguments, no shell runs it: [./web, --port, 80]"),
        ("'./web \"a b\" $X'",
         'command: must be a list of arguments, no shell runs it: [./web, "a b", "$X"]'),
        ("\"it's\"", 'command: must be a list of arguments, no shell runs it: ["it\'s"]'),
        ("[]", "command: must name at least the program to run"),
        ("", "command: must be a list, not empty"),
        ("{a: 1}", "command: must be a list, not a mapping"),
        ("[x, [y]]", "command[1]: must be text, not a list"),
        ("[x, ]\n      shell: true", None),
        ("[x, {a: 1}]", "command[1]: must be text, not a mapping"),
        ("[x, ~]", "command[1]: must be text, not empty"),
    ],
)  # fmt: skip
def test_a_command_is_a_list_of_arguments(refused_job, command, said):
    expected = [f"4: {said}"] if said else ["5: shell: not supported yet: shell"]

    assert refused_job(f"command: {command}") == expected


def test_a_job_needs_a_command(refused_job):
    assert refused_job("replicas: 1") == ['3: missing key "command"']


@pytest.mark.parametrize(
    ("artifact", "program", "said"),
    [
        (None, "./web", "5: command[0]: ./web is taken from the artifact, and the job has none"),
        (None, "bin/web", "5: command[0]: bin/web is taken from the artifact, and the job has none"),
        ("dist", "./wbe", '5: command[0]: ./wbe is no file of the artifact dist (did you mean "web"?)'),
        ("dist", "./../web", "5: command[0]: ./../web leads out of the artifact"),
        ("dist", "./data.txt", "5: command[0]: ./data.txt is not executable: chmod +x dist/data.txt"),
        ("dist/web", "./serve", "5: command[0]: ./serve is not in the artifact: it is the one file ./web"),
        ("dist/data.txt", "./data.txt", "5: command[0]: ./data.txt is not executable: chmod +x dist/data.txt"),
        ("dost", "./web", '4: artifact: no such file or folder: dost (did you mean "dist"?)'),
        ("empty", "./web", "4: artifact: is an empty folder: empty"),
    ],
)
def test_a_program_that_the_artifact_lacks_is_refused(files, refused_job, artifact, program, said):
    files.program("dist/web")
    files.write("dist/data.txt", "x")
    (files.folder / "empty").mkdir()
    first = f"artifact: {artifact}" if artifact else "replicas: 1"

    assert refused_job(first, f"command: [{program}]") == [said]


# templates


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("env: {A: '{{ ports.htp }}'}", 'env.A: the job has no port "htp" (did you mean "http"?)'),
        ("env: {A: '{{ ports[\"x\"] }}'}", 'env.A: the job has no port "x": its ports are http'),
        ("env: {A: '{{ replica.name }}'}", 'env.A: "replica" has no "name": it has an index'),
        ("env: {A: '{{ verison }}'}", 'env.A: "verison" is not defined (did you mean "version"?)'),
        ("env: {A: '{{ adress }}'}", 'env.A: "adress" is not defined (did you mean "address"?)'),
        ("env: {A: '{{ nothing }}'}", f'env.A: "nothing" is not defined: {SEEN}'),
        ("env: {A: '{{ address }}{{ nothing }}'}", f'env.A: "nothing" is not defined: {SEEN}'),
        ("env: {A: '{{ rack }}'}", f'env.A: "rack" is a host variable: {SEEN}'),
        ("env: {A: '{{ rack | default(1) }}'}", f'env.A: "rack" is a host variable: {SEEN}'),
        ("env: {A: '{{ region }}'}", f'env.A: "region" is a host variable: {SEEN}'),
        ("env: {A: '{{ inventory_hostname }}'}", f'env.A: "inventory_hostname" is a host variable: {SEEN}'),
        ("env: {A: '{{ ansible_facts.x }}'}", f'env.A: "ansible_facts" is a host variable: {SEEN}'),
        ("env: {A: '{{ version.x }}'}", "env.A: can't be rendered: 'str object' has no attribute 'x'"),
        ("env: {A: '{{ version'}",
         "env.A: is not a valid template: unexpected end of template, expected 'end of print statement'."),
        ("env: {A: '{{ version | shuffle }}'}", "env.A: is not a valid template: No filter named 'shuffle'."),
        ("env: {A: '{{ [1, 2] | random }}'}", "env.A: is not a valid template: No filter named 'random'."),
        ("env: {A: 'x{{ version.upper }}'}",
         "env.A: can't be rendered: a function is no text: it lacks its ()"),
        ("env: {A: '{{ 1 / 0 }}'}", "env.A: can't be rendered: division by zero"),
        ("env: {A: '{{ \"\".__class__ }}'}",
         "env.A: can't be rendered: access to attribute '__class__' of 'str' object is unsafe."),
        ("spread: '{{ address }}'",
         'spread: "address" is known only after placement: it can stand in command and env'),
        ("replicas: '{{ version }}'", 'replicas: must be a whole number, not "1.4.2"'),
        ("artifact: 'dist/{{ verison }}'", 'artifact: "verison" is not defined (did you mean "version"?)'),
        ("resources: {cpu: '{{ cpus }}'}", f'resources.cpu: "cpus" is not defined: {SEEN}'),
    ],
)  # fmt: skip
def test_a_template_that_would_fail_later_fails_now(refused, key, said):
    job = f"    web:\n      command: [x]\n      ports: [http]\n      {key}\n"

    assert refused(f"- hosts: app\n  vars: {{version: 1.4.2}}\n  jobs:\n{job}") == [f"7: jobs.web.{said}"]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ("{a: 1.10}", '2: vars.a: 1.10 is a number and would be printed as 1.1: write "1.10"'),
        ("{a: {b: [0755]}}", '2: vars.a.b[0]: 0755 is a number and would be printed as 493: write "0755"'),
        ("{address: x}", "2: vars.address: has a name that fleetctl gives out after placement: take another"),
        ("{a-b: x}", "2: vars.a-b: must be named with letters, digits and _, to be used in templates"),
        ("{a: '{{ b }}', b: '{{ c }}', c: '{{ a }}'}",
         "2: vars.a: variables contain each other in a circle: a > b > c > a"),
        ("{a: '{{ vresion }}', version: 1.4.2}",
         '2: vars.a: "vresion" is not defined (did you mean "version"?)'),
        ("{a: '{{ address }}'}",
         '2: vars.a: "address" is known only after placement: it can stand in command and env'),
        ("{a: '{{ rack }}'}", f'2: vars.a: "rack" is a host variable: {SEEN}'),
        ("{a: !vault x}", "2: vars.a: not supported yet: a value encrypted with ansible-vault"),
        ("{a: '{{ [1] | map(\"string\") }}'}",
         "2: vars.a: gives no text, number, list or mapping (a filter's result needs | list behind it)"),
    ],
)  # fmt: skip
def test_a_variable_that_can_not_be_meant_is_refused(refused, variables, said):
    assert refused(f"- hosts: app\n  vars: {variables}\n  jobs:\n    web: {{command: ['{{{{ a }}}}']}}\n") == [said]


# all together


def test_everything_wrong_in_a_file_is_told_together_in_its_order(refused):
    text = """
        - hosts: app
          jobs:
            web:
              repicas: 4
              command: ["x", "{{ ports.htp }}"]
              ports: [http]
              ready: {htp: /}
            db: {command: x}
        - hosts: ap
          jobs:
            cache: {command: [x], secrets: {}}
    """

    assert refused(text) == [
        '5: jobs.web.repicas: unknown key (did you mean "replicas"?)',
        '6: jobs.web.command[1]: the job has no port "htp" (did you mean "http"?)',
        '8: jobs.web.ready.htp: unknown key (did you mean "http"?)',
        "9: jobs.db.command: must be a list of arguments, no shell runs it: [x]",
        '10: hosts: no host or group matches "ap" (did you mean "app"?)',
        "12: jobs.cache.secrets: not supported yet: secrets",
    ]


def test_a_missing_playbook_is_told(files):
    inventory = files.inventory(INVENTORY)

    assert files.refused(load_playbook, files.folder / "none.yml", inventory) == ["none.yml: no such file"]


def test_every_key_is_either_known_or_to_come():
    probe = "http tcp command port status header body interval timeout failures successes grace"
    documented = {
        PlayShape: "name hosts vars jobs tasks include",
        JobShape: "kind replicas artifact command env secrets ports resources priority constraints spread ready alive"
        " restart stop update log reschedule evict data exclusive shell core",
        ResourcesShape: "cpu memory disk pids gpu",
        ReadyShape: f"{probe} notify",
        AliveShape: f"{probe} heartbeat progress",
        ProgressShape: "file metric port path stalled",
        RestartShape: "backoff reset alarm",
        StopShape: "signal drain timeout",
        UpdateShape: "max_unavailable canary min_healthy deadline auto_revert",
        LogShape: "size keep when_full",
    }

    for shape, keys in documented.items():
        assert set(shape.model_fields) | shape.later == set(keys.split())
        assert not set(shape.model_fields) & shape.later
