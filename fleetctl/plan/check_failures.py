"""The checker's own view of failures: where nothing may be started, and what may be moved though it runs.

Shares no helper with the planner, as `check` does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetctl.model.plan import Violation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fleetctl.model.desired import WantedJob
    from fleetctl.model.job import Release
    from fleetctl.model.memory import Failure
    from fleetctl.model.plan import Start
    from fleetctl.model.replica import ReplicaName

FIVE_MINUTES_S = 300.0


def bad_start(start: Start, job: WantedJob, release: Release, failures: tuple[Failure, ...]) -> Iterator[Violation]:
    """What a heal starts where that release keeps failing, or though that replica failed on two hosts. A person's
    deploy or restart gives it another try."""
    if job.rolls or job.fresh_from is not None:
        return
    alike = [failure for failure in failures if failure.replica.job == job.name and _is_alike(job, release, failure)]
    if _five_at_once(failure for failure in alike if failure.host == start.host):
        yield Violation(
            "bad pair", f"{start.instance} is started on {start.host}, where release {release.number} fails"
        )
    if len(bad := _failed_on(start.instance.replica, alike)) > 1:
        yield Violation("bad release", f"{start.instance} is started, and failed on {', '.join(sorted(bad))}")


def is_left(replica: ReplicaName, job: WantedJob, release: Release, host: str, failures: tuple[Failure, ...]) -> bool:
    """Whether it keeps failing on that host, so that it may be moved off."""
    alike = [failure for failure in failures if failure.replica.job == job.name and _is_alike(job, release, failure)]
    there = [failure for failure in alike if failure.host == host]
    return _five_at_once(there) and host in _failed_on(replica, there)


def _failed_on(replica: ReplicaName, failures: list[Failure]) -> set[str]:
    own = [failure for failure in failures if failure.replica == replica]
    return {
        failure.host
        for failure in own
        if failure.final
        or _five_at_once(other for other in own if (other.host, other.release) == (failure.host, failure.release))
    }


def _is_alike(job: WantedJob, release: Release, failure: Failure) -> bool:
    known = next((known for known in job.known if known.number == failure.release), None)
    return failure.release == release.number or (known is not None and known.runs_like(release))


def _five_at_once(failures: Iterable[Failure]) -> bool:
    """Of one release: five numbers that run the same are not added up."""
    some = list(failures)
    return any(
        sum(one.release == other.release and 0 <= other.at - one.at <= FIVE_MINUTES_S for other in some) >= 5
        for one in some
    )
