"""A client that asks at a steady rate and follows `status --json`: it uses whatever that last showed as ready."""

from __future__ import annotations

import http.client
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.e2e.fleet import Fleet
from tests.e2e.machines import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REQUESTS_PER_S = 50
WORKERS = 5  # each asks one at a time: so many are in flight at most
TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Failure:
    at_s: float  # since the load began
    place: tuple[str, int]
    error: str
    known_for_s: float  # how old what status said was by then


@dataclass
class Load:
    """What was asked, and what was not answered."""

    fleet: Fleet
    asked: int = 0
    failures: list[Failure] = field(default_factory=list)
    stalest_s: float = 0.0  # the longest that what status said was used
    places_used: set[tuple[str, int]] = field(default_factory=set)
    _known: tuple[float, list[tuple[str, int]]] = (0.0, [])
    _begun: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _trouble: list[BaseException] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The load lasts as long as the block; what keeps it from being made fails the test."""
        self._look()
        self._begun = time.monotonic()
        works = [self._follow] + [lambda number=number: self._ask(number) for number in range(WORKERS)]
        threads = [threading.Thread(target=self._guarded, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        try:
            yield
            self.idle_for(1.0)
        finally:
            self._over.set()
            for thread in threads:
                thread.join()
        if self._trouble:
            raise self._trouble[0]

    def await_places(self, count: int, what: str) -> None:
        """Until so many places were asked since the beginning."""
        wait_until(lambda: len(self.places_used) >= count or self._trouble, 60, f"{count} places were asked: {what}")

    def idle_for(self, seconds: float) -> None:
        self._over.wait(seconds)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as trouble:  # noqa: BLE001 - told by the thread that runs the test
            self._trouble.append(trouble)

    def _follow(self) -> None:
        while not self._over.is_set():
            self._look()

    def _look(self) -> None:
        asked_at = time.monotonic()
        places = self.fleet.status().places()
        self._known = (asked_at, places)

    def _ask(self, number: int) -> None:
        turn = number
        while not self._over.wait(max(0.0, self._begun + turn / REQUESTS_PER_S - time.monotonic())):
            known_at, places = self._known
            assert places, "status shows nothing that is ready"
            place = places[turn % len(places)]
            error = self._error_of(place)
            known_for_s = time.monotonic() - known_at
            with self._lock:
                self.asked += 1
                self.stalest_s = max(self.stalest_s, known_for_s)
                self.places_used.add(place)
                if error:
                    self.failures.append(Failure(time.monotonic() - self._begun, place, error, known_for_s))
            turn += WORKERS

    @staticmethod
    def _error_of(place: tuple[str, int]) -> str:
        connection = http.client.HTTPConnection(*place, timeout=TIMEOUT_S)
        try:
            connection.request("GET", "/")
            response = connection.getresponse()
            words = response.read().split()
        except (OSError, http.client.HTTPException) as error:
            return f"{type(error).__name__}: {error}"
        finally:
            connection.close()
        return "" if response.status == 200 and len(words) == 3 else f"status {response.status}: {words!r}"
