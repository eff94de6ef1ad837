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
                    and for http what an http PROBE asks of its page}; banner is a yes at a line that starts `SSH-2.0`
await       {"instance": NAME, "until": "ready"|"stopped", "for_s": float, "timeout_s": float}
                                                       -> {"instance": ROW}; error `timeout` or `failed`, each with
            "instance": ROW and "log": [last lines, at most 20]. `ready` needs for_s of it in one piece; without a
            probe that is counted from when the program began. `failed`: only a new order, or another port, can help
logs        {"instance": NAME, "lines": int}           -> {"lines": [str], "times": [float], "runs": [int],
            "gaps": [GAP], "dropped_bytes": int, "next": CURSOR, "cut": bool, "partial": bool, "missed": bool,
            "run": int, "wallclock_s": float}: its last lines, at most LOG_LINES_MAX of LOG_BYTES_MAX.
            "times" (wall clock when each was read from its program) and "runs" (counted from 1; 0: not known) go with
            the lines. GAP {"before": int, "bytes": int, "at": float, "run": int}: right before that line (or at the
            end, where there are as many) so many bytes were thrown away; "dropped_bytes" is the sum since it began.
            "partial": the last line goes on; it comes again, whole, after "next". "run": its newest; "wallclock_s":
            now, by the host's clock. Besides: "run": int (that run alone; -1: the last before the newest that said
            anything), "since": float (wall clock), "after": CURSOR or "": the first lines from there on (from the
            beginning) instead of the last. "cut": there is more of them; without "after": fewer than asked for fit.
            "missed": some of what came after CURSOR is kept no more. A line of over 1 MiB comes in pieces
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
         "resources": {"cpu_milli": int, "memory_bytes": int, "disk_bytes": int, "pids": int, or none: 0},
         "ready": null | PROBE, "alive": null | ALIVE, or none: null,
         "min_healthy_s": float, "stop": {"signal": str, "timeout_s": float, "drain_s": float, or none: 0},
         "log": {"size_bytes": int, "keep": int, "when_full": "drop"|"block", or none: "drop"},
         "restart": {"backoff_min_s": float, "backoff_max_s": float, "reset_s": float,
                     "alarm_exits": int, "alarm_s": float, or none of both: 5 in 600},
         "core": bool, or none: false}
         A number of 0 in resources is no claim, and no limit.
PROBE   {"kind": "http"|"tcp"|"command"|"notify", "interval_s": float, "timeout_s": float, "failures": int,
         "successes": int, "grace_s": float; http and tcp: "port": int; http: "path": str and, or none of them:
         "status": [least, most] ([200, 399]), "header": {NAME: TEXT IN ITS VALUE}, "body": TEXT IN IT; command: "argv":
         [str], run in run/ with the program's environment, a yes at exit 0; notify: READY=1 on NOTIFY_SOCKET}
ALIVE   {"probe": null | PROBE (not notify), "heartbeat": null | {"timeout_s": float},
         "progress": null | {"stalled_s": float, and "file": str (in run/) or "metric": str with "port" and "path"}}
ROW     {"instance": "web.1@47", "job": str, "release": int, "phase": PHASE, "wanted": "run"|"stop", "pid": int|null,
         "ready_for_s": float|null, "ever_ready": bool, "restarts": int, "last_exit": str|null, "reason": str,
         "problem": null | {"kind": "port_taken"|"not_executable"|"exit_125"|"artifact_missing"|"crash_looping"|
                            "daemonized", "detail": str, "port": int|null, "pid": int|null},
         "age_s": float, "ports": {str: int}, "address": str, "artifact": str|null, "resources": {...},
         "dropped_bytes": int, "stuck": [{"pid": int, "state": str, "why": str}],
         "said": str (its newest STATUS=), "limits": "" | what binds it ("cgroup: memory 40.0 MiB, no swap, pids 32") or
         why nothing does ("advisory: ..."), "usage": null | {"cpu_s": float, "memory_bytes": int, "peak_bytes": int,
         "processes": int}, "story": [{"at": float (wall clock), "run": int, "what": str}], its newest events}
REACH   {"host": str, "address": str, "port": int, "ok": bool, "age_s": float}; in a report `ok` says that it was
        reached once, and the age is that of the newest success; the answer to `neighbours` is of just now
REPORT  {"serial": int, "boot": str, "boottime_s": float, "wallclock_s": float, "address": str,
         "host_id": str, "fleet": str|null, "program": {"version": str, "digest": str, "protocol": int},
         "guard": {"generation": int, "author": str, "at": float},
         "facts": {"cpu_milli": int, "memory_bytes": int, "disk_total_bytes": int, "disk_free_bytes": int,
                   "kernel": str, "arch": str, "python": str, "limits": "cgroup..."|"advisory...",
                   "boot": what starts the agent after a reboot ("unit", "user unit", "crontab") or "none: WHY"
                   ("none: asked not to" where that is as it was wished)},
         "ports_in_use": [int], "artifacts": [str], "instances": [ROW], "reach": [REACH], "notes": [str],
         "from_memory": str, or none: "" (why nothing can be ordered)}

While the file system of the root hangs, observe, probe and wishes are answered from memory, and a note says so; all
else is refused as `root_hangs`. Once it answers again such a link ends: connect again.

The serial rises when instances, their running, the guard or the boot change; not with readiness and facts.
"""

PROTOCOL = 1
LINE_BYTES_MAX = 16 * 1024 * 1024  # a report of a thousand instances is under 1 MiB; what is longer is refused
LOG_BYTES_MAX = 1024 * 1024  # of output in one answer: as JSON, each byte may take six
LOG_LINES_MAX = 10_000
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
ROOT_HANGS = "root_hangs"  # the agent sleeps in the kernel, and what speaks for it has only its memory: see porter.py

READING = ("observe", "probe", "await", "logs", "wishes", "neighbours")
ORDERS = ("claim", "start", "stop", "adopt", "discard")

# The bootstrap (entry.py), which every connection runs first: see its own docstring for the hello and its verbs.
ENTRY_DRIVE = "drive"  # install and start what is missing, then link
ENTRY_LOOK = "look"  # write nothing: link to a living agent, or else answer from the files
