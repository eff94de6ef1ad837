"""The words fleetctl and an agent exchange: JSON objects, one a line, over one channel.

Runs on hosts (Python 3.6, standard library alone) and is the one file of the host program that fleetctl imports.
It holds names, limits and the shape of messages, and must do nothing.

A request is `{"id": OPERATION, "do": VERB, ...}`; its answer `{"id": OPERATION, "ok": true, ...}` or
`{"id": OPERATION, "ok": false, "error": {"kind": KIND, "message": TEXT, ...}}`. Answers may come in any order.
Repeating an order with the same content is harmless: its answer is that of the state it finds.

Reading (no generation; writes nothing that the fleet's life depends on):

observe     {}                                         -> {"report": REPORT}
probe       {"targets": [TARGET]}                      -> {"answers": [{"key": str, "ok": bool, "detail": str}]}
            TARGET {"key": str, "kind": "banner"|"http"|"tcp", "address": str, "port": int, "timeout_s": float,
                    "path": str (http)}; http is a yes at status 200-399, banner at a line that starts `SSH-2.0`
await       {"instance": NAME, "until": "ready"|"stopped", "for_s": float, "timeout_s": float}
                                                       -> {"instance": ROW}; error `timeout` or `failed`, each with
            "instance": ROW and "log": [last lines, at most 20]. `ready` needs for_s of it in one piece; without a
            probe that is counted from when the program began. `failed`: only a new order, or another port, can help
logs        {"instance": NAME, "lines": int}           -> {"lines": [str], "dropped_bytes": int}
wishes      {}                                         -> {"wishes": ANY}; what the newest claim gave, or null
neighbours  {"peers": [{"host": str, "address": str, "port": int}]} -> {"reach": [REACH]}; kept and reported for ever

Claim and orders (each has "generation": int and "author": str; refused as `stale` when the guard is newer, or has the
same generation by another author; the error then has "generation", "author", "at" of the guard):

claim       {"fleet": str, "serial": int, "wishes": ANY} -> {"serial": int}; `changed` (with "serial") when the host's
            serial is another one; `foreign` when the root belongs to another fleet. Raises the guard, durably.
start       {"instance": NAME, "spec": SPEC, "reason": str, or none}
                                                       -> {"instance": ROW}; written down, then started.
            error `exists` when that instance is there with another spec, or was stopped before
stop        {"instance": NAME, "reason": str}          -> {"instance": ROW}; written down, then begun (see `await`):
            notice, `drain_s` in which it serves on, the signal, `timeout_s`, SIGKILL; `stopping` from the notice on
adopt       {"digest": str, "incoming": str}           -> {}; verifies <root>/incoming/<incoming>/, makes it
            durable and renames it to artifacts/<digest>; `mismatch` with "found" when the content is another
discard     {"incoming": str}                          -> {}; removes a broken upload

SPEC    {"job": str, "release": int, "fleet": str, "host": str, "address": str, "wish_replicas": int,
         "argv": [str], "env": {str: str}, "artifact": str|null, "ports": {str: int},
         "resources": {"cpu_milli": int, "memory_bytes": int, "disk_bytes": int},
         "ready": null | {"kind": "http"|"tcp", "port": int, "path": str, "interval_s": float, "timeout_s": float,
                          "failures": int, "successes": int, "grace_s": float},
         "min_healthy_s": float, "stop": {"signal": str, "timeout_s": float, "drain_s": float, or none: 0},
         "log": {"size_bytes": int, "keep": int},
         "restart": {"backoff_min_s": float, "backoff_max_s": float, "reset_s": float}}
ROW     {"instance": "web.1@47", "job": str, "release": int, "phase": PHASE, "wanted": "run"|"stop", "pid": int|null,
         "ready_for_s": float|null, "ever_ready": bool, "restarts": int, "last_exit": str|null, "reason": str,
         "problem": null | {"kind": "port_taken"|"not_executable"|"exit_125"|"artifact_missing"|"crash_looping",
                            "detail": str, "port": int|null, "pid": int|null},
         "age_s": float, "ports": {str: int}, "address": str, "artifact": str|null, "resources": {...},
         "dropped_bytes": int, "stuck": [{"pid": int, "state": str, "why": str}]}
REACH   {"host": str, "address": str, "port": int, "ok": bool, "age_s": float}; in a report `ok` says that it was
        reached once, and the age is that of the newest success; the answer to `neighbours` is of just now
REPORT  {"serial": int, "boot": str, "boottime_s": float, "wallclock_s": float, "address": str,
         "host_id": str, "fleet": str|null, "program": {"version": str, "digest": str, "protocol": int},
         "guard": {"generation": int, "author": str, "at": float},
         "facts": {"cpu_milli": int, "memory_bytes": int, "disk_total_bytes": int, "disk_free_bytes": int,
                   "kernel": str, "arch": str, "python": str, "limits": "advisory"},
         "ports_in_use": [int], "artifacts": [str], "instances": [ROW], "reach": [REACH], "notes": [str]}

The serial rises when instances, their running, the guard or the boot change; not with readiness and facts.
"""

PROTOCOL = 1
LINE_BYTES_MAX = 16 * 1024 * 1024  # a report of a thousand instances is under 1 MiB; what is longer is refused
PORT_FIRST, PORT_LAST = 20000, 29999  # below the kernel's ephemeral range, 32768 and up

# Phases of an instance, as its host sees them.
STARTING = "starting"  # its process runs and was not ready yet since it was started
READY = "ready"
UNREADY = "unready"  # runs, was ready since it was started, and is not now
WAITING = "waiting"  # between two starts: backoff
STOPPING = "stopping"
STOPPED = "stopped"  # on order, and its whole tree was seen empty
FAILED = "failed"  # final, without an order: see "problem"
STUCK = "stuck"  # what can't be ended: keeps its room, ports and name
PHASES = (STARTING, READY, UNREADY, WAITING, STOPPING, STOPPED, FAILED, STUCK)

# Kinds of error in an answer.
STALE, CHANGED, FOREIGN, EXISTS = "stale", "changed", "foreign", "exists"
MISMATCH, TIMEOUT, FAILED_WAIT = "mismatch", "timeout", "failed"
MALFORMED, UNKNOWN_INSTANCE, NO_SPACE, INTERNAL = "malformed", "unknown_instance", "no_space", "internal"
NO_AGENT = "no_agent"  # asked of a look, which only reads

READING = ("observe", "probe", "await", "logs", "wishes", "neighbours")
ORDERS = ("claim", "start", "stop", "adopt", "discard")

# The bootstrap (entry.py), which every connection runs first: see its own docstring for the hello and its verbs.
ENTRY_DRIVE = "drive"  # install and start what is missing, then link
ENTRY_LOOK = "look"  # write nothing: link to a living agent, or else answer from the files
