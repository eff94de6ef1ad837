"""Distrusts the deciding functions in one more way: now and then they are asked twice, with their input in another
order, and must say the same."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from fleetctl.engine import run as engine
from fleetctl.model.snapshot import Reachable
from tests.sim.observer import BrokenError

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Mapping

T = TypeVar("T")
ONE_IN = 20


@contextmanager
def shuffled_inputs(dice: random.Random) -> Iterator[None]:
    """Around the engine's runs."""
    plan, judge = engine.make_plan, engine.verdicts

    def make_plan(desired: Any, snapshot: Any, verdicts: Any, memory: Any, now: Any) -> Any:
        made = plan(desired, snapshot, verdicts, memory, now)
        if not dice.randrange(ONE_IN):
            again = plan(
                _desired(desired, dice), _snapshot(snapshot, dice), _table(verdicts, dice), _memory(memory, dice), now
            )
            _compare("plan", made, again)
        return made

    def verdicts(desired: Any, snapshot: Any, answers: Any, memory: Any, now: Any) -> Any:
        made = judge(desired, snapshot, answers, memory, now)
        if not dice.randrange(ONE_IN):
            again = judge(
                _desired(desired, dice), _snapshot(snapshot, dice), _row(answers, dice), _memory(memory, dice), now
            )
            _compare("verdicts", made, again)
        return made

    engine.make_plan, engine.verdicts = make_plan, verdicts
    try:
        yield
    finally:
        engine.make_plan, engine.verdicts = plan, judge


def _compare(what: str, made: object, again: object) -> None:
    if made != again:
        raise BrokenError(f"the {what} depends on the order of the input: {made} or {again}")


def _row(items: tuple[T, ...], dice: random.Random) -> tuple[T, ...]:
    return tuple(dice.sample(items, len(items)))


def _table(items: Mapping[str, T], dice: random.Random) -> dict[str, T]:
    return dict(_row(tuple(items.items()), dice))


def _desired(desired: Any, dice: random.Random) -> Any:
    jobs = tuple(replace(job, eligible=_row(job.eligible, dice)) for job in desired.jobs)
    return replace(desired, hosts=_row(desired.hosts, dice), jobs=_row(jobs, dice))


def _snapshot(snapshot: Any, dice: random.Random) -> Any:
    def seen(one: Any) -> Any:
        if not isinstance(one, Reachable):
            return one
        report = replace(one.report, instances=_row(one.report.instances, dice), reach=_row(one.report.reach, dice))
        return replace(one, report=report)

    return replace(snapshot, hosts={name: seen(one) for name, one in _table(snapshot.hosts, dice).items()})


def _memory(memory: Any, dice: random.Random) -> Any:
    hosts = {
        name: replace(host, instances=_row(host.instances, dice)) for name, host in _table(memory.hosts, dice).items()
    }
    return replace(memory, hosts=hosts, jobs=_table(memory.jobs, dice), cordons=_table(memory.cordons, dice))
