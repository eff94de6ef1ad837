"""Each action of a plan in words: what will be done, what is being done, what came of it, and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from fleetctl.cli.screen import BAD, DIM, DOUBTFUL, Line
from fleetctl.cli.text import DIGEST_SHOWN, duration
from fleetctl.engine.events import ActionResult, Outcome
from fleetctl.model.plan import AwaitReady, Start, Stop, Upload

if TYPE_CHECKING:
    from fleetctl.engine.events import FetchBegan, FetchEnded
    from fleetctl.model.plan import Action

ASKED_AGAIN = "it is not known whether that happened; the next look tells"


def will(action: Action) -> str:
    """`start web.1@47 (release 14) on h3`: as an order."""
    match action:
        case Upload():
            return f"upload {action.job} {action.artifact[:DIGEST_SHOWN]} to {action.host}"
        case Start():
            ports = "".join(f", {name} {number}" for name, number in action.ports)
            return f"start {action.instance} on {action.host} (release {action.release}{ports})"
        case AwaitReady():
            lasting = f" for {duration(action.for_s)}" if action.for_s else ""
            return f"await {action.instance} on {action.host}: ready{lasting}, within {duration(action.timeout_s)}"
        case Stop():
            return f"stop {action.instance} on {action.host} (at most {duration(action.timeout_s)})"
        case _:
            assert_never(action)


def doing(action: Action) -> str:
    match action:
        case Upload():
            return f"uploading {action.job} {action.artifact[:DIGEST_SHOWN]} to {action.host}"
        case Start():
            return f"starting {action.instance} on {action.host}"
        case AwaitReady():
            return f"awaiting {action.instance} on {action.host}"
        case Stop():
            return f"stopping {action.instance} on {action.host}"
        case _:
            assert_never(action)


def done(action: Action, detail: str) -> str:
    match action:
        case Upload():
            return f"uploaded {action.job} {action.artifact[:DIGEST_SHOWN]} to {action.host}"
        case Start():
            return f"started {action.instance} on {action.host} (release {action.release}): {action.reason}"
        case AwaitReady():
            return f"ready: {action.instance} on {action.host}"
        case Stop():
            ended = f" ({detail})" if detail else ""
            return f"stopped {action.instance} on {action.host}{ended}: {action.reason}"
        case _:
            assert_never(action)


def result_lines(result: ActionResult) -> list[Line]:
    """How one action ended; where it failed, with what to do and the instance's last words."""
    match result.outcome:
        case Outcome.DONE:
            return [Line(done(result.action, result.detail))]
        case Outcome.UNKNOWN:
            lines = [Line(f"no answer: {will(result.action)}: {result.detail}", DOUBTFUL), Line(f"  {ASKED_AGAIN}")]
        case Outcome.FAILED:
            lines = [Line(f"failed: {will(result.action)}: {result.detail}", BAD)]
        case _:
            assert_never(result.outcome)
    lines += [Line(f"  {line}") for line in result.hint.splitlines()]
    return lines + [Line(f"  | {line}", DIM) for line in result.log]


def fetching(event: FetchBegan) -> str:
    return f"fetching back {event.job} {event.artifact[:DIGEST_SHOWN]} from {event.host}"


def fetch_line(event: FetchEnded) -> Line:
    """`fetched back web 3254650a from h2`, or why that host's copy did not come."""
    what = f"{event.job} {event.artifact[:DIGEST_SHOWN]}"
    if event.error:
        return Line(f"can't fetch back {what} from {event.host}: {event.error}", DOUBTFUL)
    return Line(f"fetched back {what} from {event.host}")


def action_json(action: Action) -> dict[str, Any]:
    common = {"action": _KINDS[type(action)], "host": action.host, "epoch": action.epoch, "reason": action.reason}
    match action:
        case Upload():
            return {**common, "job": action.job, "artifact": action.artifact}
        case Start():
            ports = dict(action.ports)
            return {**common, "instance": str(action.instance), "release": action.release, "ports": ports}
        case AwaitReady():
            limits = {"for_s": action.for_s, "timeout_s": action.timeout_s}
            return {**common, "instance": str(action.instance), **limits}
        case Stop():
            return {**common, "instance": str(action.instance), "timeout_s": action.timeout_s}
        case _:
            assert_never(action)


_KINDS: dict[type[Action], str] = {Upload: "upload", Start: "start", AwaitReady: "await ready", Stop: "stop"}
