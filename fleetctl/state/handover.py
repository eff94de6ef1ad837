"""What hosts keep of a fleet, so that a controller without its store can rebuild it: wishes, releases, cordons, and
where what runs was placed: of a host that can't be asked then, somebody has to know.

Hosts store it and understand nothing of it. What comes back from one is untrusted: checked here, to the last name.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fleetctl.errors import FleetctlError, StateError
from fleetctl.model.job import Digest, JobSpec, Release
from fleetctl.model.memory import Cordon, HostMemory, JobMemory, Wish
from fleetctl.model.replica import JOB_NAME, InstanceName
from fleetctl.model.snapshot import InstanceReport, Phase
from fleetctl.state.records import dump, load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetctl.model.memory import Memory
    from fleetctl.model.replica import Generation

VERSION = 2
BYTES_MAX = 8 * 1024 * 1024  # half of a line of the host program's protocol: a thousand jobs are a few MiB
UNPACKED_MAX = 8 * BYTES_MAX  # what a host says unpacks to no more: these texts shrink to a tenth
GOOD_KEPT = 2  # the newest good release, and the good one before: what heal and rollback need
REPLICAS_MAX = 1_000_000  # as in a playbook: a replica's number has at most six digits
RELEASES_MAX = 2**31  # as the store's column
_DIGEST = re.compile(r"[0-9a-f]{64}")


class NotEnoughError(FleetctlError):
    """What a host keeps is no base for a store; the message says why, without the host's name."""


@dataclass(frozen=True, slots=True)
class Driver:
    """Who gave it to the hosts, and where their store is."""

    user: str
    host: str
    state: str  # absolute


@dataclass(frozen=True, slots=True)
class KeptRelease:
    number: int
    spec: JobSpec
    artifact: Digest | None
    good: bool


@dataclass(frozen=True, slots=True)
class KeptJob:
    wish: Wish
    releases: tuple[KeptRelease, ...]


@dataclass(frozen=True, slots=True)
class KeptInstance:
    """What is asked about an instance of a silent host, and holds its replica's place."""

    name: str
    release: int
    phase: Phase
    ports: tuple[tuple[str, int], ...]
    address: str


@dataclass(frozen=True, slots=True)
class KeptHost:
    address: str
    host_id: str
    behind: tuple[str, ...]
    instances: tuple[KeptInstance, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    version: int
    generation: int
    driver: Driver
    jobs: tuple[KeptJob, ...]
    cordons: dict[str, Cordon]
    hosts: dict[str, KeptHost]

    def job_memories(self) -> dict[str, JobMemory]:
        return {job.wish.job: _memory_of(job) for job in self.jobs}

    def host_memories(self) -> dict[str, HostMemory]:
        """As they were to be once the plan that this came with was carried out."""
        return {name: _host_memory_of(host) for name, host in self.hosts.items()}


def pack(generation: Generation, driver: Driver, memory: Memory) -> dict[str, Any]:
    """As it is sent with a claim. Raises StateError where it is more than a host would take."""
    jobs = tuple(KeptJob(job.wish, _releases_of(job)) for _, job in sorted(memory.jobs.items()))
    hosts = {name: _kept_host(host) for name, host in sorted(memory.hosts.items())}
    packed = seal(json.loads(dump(Kept, Kept(VERSION, generation, driver, jobs, dict(memory.cordons), hosts))))
    size = len(packed["packed"])
    if size > BYTES_MAX:
        biggest = max(jobs, key=lambda job: len(dump(KeptJob, job)))
        raise StateError(
            f"what the hosts are to keep of this fleet takes {size} bytes, more than {BYTES_MAX}",
            hint=f"most of it is {biggest.wish.job}'s: put large variables of its playbook into a file of its artifact",
        )
    return packed


def seal(kept: dict[str, Any]) -> dict[str, Any]:
    """Every host gets all of it with every claim, so it is compressed: a hundred hosts with a thousand instances take
    some 10 KiB instead of 120."""
    text = zlib.compress(json.dumps(kept).encode())
    return {"version": VERSION, "generation": kept.get("generation"), "packed": base64.b64encode(text).decode()}


def opened(said: object) -> dict[str, Any]:
    """What `seal` was given. Raises NotEnoughError where a host says anything else."""
    if not isinstance(said, dict) or said.get("version") != VERSION:
        raise NotEnoughError(
            "its wishes were left there by another version of fleetctl, without what a store is rebuilt from"
        )
    try:
        opening = zlib.decompressobj()
        text = opening.decompress(base64.b64decode(said["packed"], validate=True), UNPACKED_MAX)
        kept = json.loads(text) if opening.eof else None
    except (KeyError, TypeError, ValueError, binascii.Error, zlib.error, RecursionError):
        kept = None
    if not isinstance(kept, dict):
        raise NotEnoughError("its wishes are damaged")
    return kept


def unpack(said: object) -> Kept:
    """What a host says it keeps. Raises NotEnoughError where it keeps nothing, too little, or not what `pack` makes."""
    if said is None:
        raise NotEnoughError("it keeps no wishes")
    try:
        kept = load(Kept, json.dumps(opened(said)), what="its wishes")
        names_ok = all(map(_is_placed, kept.hosts.values()))
    except (StateError, ValueError, RecursionError):
        raise NotEnoughError("its wishes are damaged") from None
    unique = len({job.wish.job for job in kept.jobs}) == len(kept.jobs)
    if not (names_ok and unique and all(map(_is_sound, kept.jobs))):
        raise NotEnoughError("its wishes contradict themselves")
    words = kept.cordons.items()
    cordons = {_shown(host): replace(word, by=_shown(word.by), why=_shown(word.why)) for host, word in words}
    driver = Driver(*(_shown(text) for text in (kept.driver.user, kept.driver.host, kept.driver.state)))
    jobs = tuple(replace(job, wish=replace(job.wish, owner=_shown(job.wish.owner))) for job in kept.jobs)
    hosts = {_shown(name): replace(host, address=_shown(host.address)) for name, host in kept.hosts.items()}
    return replace(kept, driver=driver, jobs=jobs, cordons=cordons, hosts=hosts)


def _is_sound(job: KeptJob) -> bool:
    numbers = [release.number for release in job.releases]
    return (
        JOB_NAME.fullmatch(job.wish.job) is not None
        and job.wish.release in numbers
        and len(set(numbers)) == len(numbers)
        and all(0 < number < RELEASES_MAX for number in numbers)
        and 0 <= job.wish.replicas <= REPLICAS_MAX
        and all(release.spec.name == job.wish.job for release in job.releases)
        and all(release.artifact is None or _DIGEST.fullmatch(release.artifact) for release in job.releases)
    )


def _is_placed(host: KeptHost) -> bool:
    """Raises ValueError where a name is none."""
    return all(
        InstanceName.parse(row.name)
        and 0 < row.release < RELEASES_MAX
        and row.address == _shown(row.address)
        and all(0 < number < 2**16 for _, number in row.ports)
        for row in host.instances
    )


def _shown(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[:4096])


def _releases_of(job: JobMemory) -> tuple[KeptRelease, ...]:
    numbers = {job.wish.release, *sorted(job.good)[-GOOD_KEPT:]}
    made = [job.releases[number] for number in sorted(numbers)]
    return tuple(KeptRelease(one.number, one.spec, one.artifact, one.number in job.good) for one in made)


def _kept_host(host: HostMemory) -> KeptHost:
    rows = tuple(KeptInstance(str(row.name), row.release, row.phase, row.ports, row.address) for row in host.instances)
    return KeptHost(host.last_address, host.host_id, tuple(sorted(host.behind)), rows)


def _host_memory_of(host: KeptHost) -> HostMemory:
    rows = tuple(
        InstanceReport(InstanceName.parse(row.name), row.release, row.phase, row.ports, row.address)
        for row in host.instances
    )
    return HostMemory(host.address, instances=rows, host_id=host.host_id, behind=frozenset(host.behind))


def _memory_of(job: KeptJob) -> JobMemory:
    releases: Mapping[int, Release] = {one.number: Release(one.number, one.spec, one.artifact) for one in job.releases}
    return JobMemory(job.wish, releases, frozenset(one.number for one in job.releases if one.good))
