"""The link to one host: protocol messages there, model types back.

The one place that knows the host program's protocol. It decides nothing and repeats nothing: who asks, judges.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from fleetctl.errors import (
    ChangedError,
    ForeignRootError,
    HostError,
    InstanceExistsError,
    StaleOrderError,
    UnansweredError,
    WaitError,
)
from fleetctl.host import protocol
from fleetctl.model.plan import Answer, Question, Said
from fleetctl.ssh import bootstrap, fetching, transfer, wire
from fleetctl.ssh.channel import Conversation, RefusedError
from fleetctl.ssh.connection import Connection, dial
from fleetctl.ssh.reach import TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

    from fleetctl.model.host import HostSpec
    from fleetctl.model.job import Digest
    from fleetctl.model.log import LogPage, LogQuery
    from fleetctl.model.replica import Generation, InstanceName
    from fleetctl.model.snapshot import HostReport, InstanceReport, Reach
    from fleetctl.ssh.access import Access

OBSERVE_S = 10.0
ORDER_S = 15.0  # an order is on the host's disk before it is answered
LOGS_S = 30.0  # a megabyte of output, over a slow line
PROBE_S = 15.0  # beyond the probes' own limits
WAIT_GRACE_S = 10.0  # beyond the wait's own limit
NEIGHBOURS_S = 30.0
ADOPT_S = 60.0
ADOPT_BYTES_PER_S = 10 * 2**20  # a slow disk, read and flushed once
REDIALS = 3


class Link:
    """A host whose agent answers, over one channel of one connection. Close it, or use it as `async with`."""

    def __init__(self, host: HostSpec, access: Access, connection: Connection, linkage: bootstrap.Linkage) -> None:
        self.host = host
        self.root = linkage.hello.root
        self._notes = linkage.hello.notes(bootstrap.bundle().version)
        self.agent = linkage.by == "agent"  # else only files are read
        self.address = host.peer_address or linkage.hello.address or host.address
        self._access = access
        self._connection = connection
        self._conversation = Conversation(host.name, linkage.channel, protocol.LINE_BYTES_MAX)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def closed(self) -> bool:
        """Nothing can be asked over it any more, whoever ended it: open another (see `redial`)."""
        return self._conversation.end is not None

    async def close(self) -> None:
        try:
            await self._conversation.close()
        finally:
            await self._connection.close()

    async def observe(self) -> HostReport:
        """All there is to know about the host."""
        said = await self._ask(wire.Observed, "observe", OBSERVE_S)
        try:
            report = said.report.report(agent=self.agent, address=self.address)
            return replace(report, notes=(*report.notes, *self._notes))
        except wire.GarbledError as error:
            raise HostError(self.host.name, f"its report can't be understood: {error}") from None

    async def claim(self, *, generation: Generation, author: str, serial: int, fleet: str, wishes: Any) -> int:
        """Raise the host's guard to this generation; returns its serial from now on.

        Raises ChangedError, ForeignRootError, StaleOrderError.
        """
        said = await self._ask(
            wire.Claimed,
            "claim",
            ORDER_S,
            generation=generation,
            author=author,
            serial=serial,
            fleet=fleet,
            wishes=wishes,
        )
        return said.serial

    async def start(
        self, *, generation: Generation, author: str, instance: InstanceName, spec: dict[str, Any]
    ) -> InstanceReport:
        """Raises InstanceExistsError where that instance is there with another spec, or was stopped before."""
        said = await self._ask(
            wire.About, "start", ORDER_S, generation=generation, author=author, instance=str(instance), spec=spec
        )
        return said.instance.report()

    async def stop(self, *, generation: Generation, author: str, instance: InstanceName, reason: str) -> InstanceReport:
        """Begin to stop an instance; `wait` for its end."""
        said = await self._ask(
            wire.About, "stop", ORDER_S, generation=generation, author=author, instance=str(instance), reason=reason
        )
        return said.instance.report()

    async def wait(
        self, instance: InstanceName, *, until: Literal["ready", "stopped"], for_s: float, timeout_s: float
    ) -> InstanceReport:
        """Until the instance has been so for `for_s` in one piece. Raises WaitError with its last lines."""
        said = await self._ask(
            wire.About,
            "await",
            timeout_s + WAIT_GRACE_S,
            instance=str(instance),
            until=until,
            for_s=for_s,
            timeout_s=timeout_s,
        )
        return said.instance.report()

    async def upload(
        self,
        *,
        generation: Generation,
        author: str,
        digest: Digest,
        source: Path,
        progress: Callable[[int, int], None],
    ) -> None:
        """Bring the artifact in the folder `source` to the host; when it returns, it is there for good.

        `progress` hears bytes sent and bytes in all. What arrived broken is thrown away again.
        """
        incoming = secrets.token_hex(8)
        try:
            async with self._access.uploads:
                await transfer.deliver(
                    self._connection,
                    self._access,
                    folder=f"{self.root}/incoming/{incoming}",
                    source=source,
                    progress=progress,
                )
            limit_s = ADOPT_S + transfer.pack(source).size / ADOPT_BYTES_PER_S
            await self._order("adopt", limit_s, generation=generation, author=author, digest=digest, incoming=incoming)
        except UnansweredError:
            raise  # it may be adopting still: nothing may be taken from under it
        except HostError:
            await self._discard(generation, author, incoming)
            raise

    async def fetch(self, digest: Digest, into: Path) -> None:
        """Bring the host's artifact into the new folder `into`, which is nobody's until what came is verified.

        Raises HostError; FleetctlError where it can't be written here. `into` may then be there in part.
        """
        async with self._access.uploads:
            await fetching.collect(self._connection, self._access, folder=f"{self.root}/artifacts/{digest}", into=into)

    async def probe(self, questions: tuple[Question, ...]) -> tuple[Answer, ...]:
        """What this host as a witness says to each question; NOTHING where it leaves one out."""
        targets = [
            {
                "key": str(number),
                "kind": question.kind,
                "address": question.address,
                "port": question.port,
                "timeout_s": question.timeout_s,
                "path": question.path,
                "status": list(question.status),
                "header": dict(question.header),
                "body": question.body,
            }
            for number, question in enumerate(questions)
        ]
        limit_s = PROBE_S + max((question.timeout_s for question in questions), default=0.0)
        said = await self._ask(wire.Probed, "probe", limit_s, targets=targets)
        heard = {answer.key: answer for answer in said.answers}
        return tuple(_answer(question, heard.get(str(number))) for number, question in enumerate(questions))

    async def neighbours(self, peers: Mapping[str, tuple[str, int]]) -> tuple[Reach, ...]:
        """Tell the host to try these peers' SSH now and to keep what it finds."""
        rows = [{"host": host, "address": address, "port": port} for host, (address, port) in sorted(peers.items())]
        return (await self._ask(wire.Reached, "neighbours", NEIGHBOURS_S, peers=rows)).report()

    async def wishes(self) -> dict[str, Any] | None:
        """What the newest claim gave the host to keep, unchecked; absent before one."""
        return (await self._ask(wire.Wished, "wishes", ORDER_S)).wishes

    async def logs(self, instance: InstanceName, query: LogQuery) -> LogPage:
        """That part of an instance's output, or as much of it as one answer holds."""
        asked: dict[str, Any] = {"lines": min(query.lines, protocol.LOG_LINES_MAX), "run": query.run}
        asked["since"] = max(0.0, query.since)
        if query.after is not None:
            asked["after"] = query.after
        said = await self._ask(wire.Logged, "logs", LOGS_S, instance=str(instance), **asked)
        if not said.next and (query.run or query.since or query.after is not None):
            raise HostError(
                self.host.name,
                "its agent is older than this fleetctl, and tells last lines only",
                hint="the next deploy or heal brings it up to date",
            )
        try:
            return said.page()
        except wire.GarbledError as error:
            raise HostError(self.host.name, f"its log of {instance} can't be understood: {error}") from None

    async def _discard(self, generation: Generation, author: str, incoming: str) -> None:
        """As far as that is possible: a host also throws away what is left of uploads by itself."""
        try:
            await self._order("discard", ORDER_S, generation=generation, author=author, incoming=incoming)
        except (HostError, StaleOrderError):
            return

    async def _order(self, verb: str, limit_s: float, /, **content: Any) -> dict[str, Any]:
        try:
            return await self._conversation.ask(verb, content, limit_s)
        except RefusedError as refused:
            raise _refusal(self.host.name, verb, refused) from None

    async def _ask(self, shape: type[wire.Shape], verb: str, limit_s: float, /, **content: Any) -> wire.Shape:
        answer = await self._order(verb, limit_s, **content)
        try:
            return wire.parse(shape, answer)
        except wire.GarbledError as error:
            raise HostError(self.host.name, f"its answer to {verb} can't be understood: {error}") from None


async def open_link(
    host: HostSpec,
    access: Access,
    *,
    mode: Literal["drive", "look"],
    fleet: str,
    on_banner: Callable[[], None] = lambda: None,
) -> Link:
    """One fresh try to link to a host. Raises UnreachableError, which names the layer that failed.

    `drive` brings and starts the host program where it is missing; `look` changes nothing there. `on_banner` is called
    once the host has shown that it lives: what still fails after that is not silence.
    """
    connection = await dial(host, access, on_banner=on_banner)
    try:
        linkage = await bootstrap.link(connection, mode=mode, fleet=fleet)
    except BaseException:
        await connection.close()
        raise
    return Link(host, access, connection, linkage)


async def redial(host: HostSpec, access: Access, *, mode: Literal["drive", "look"], fleet: str) -> Link:
    """Link again to a host that answered before: tried up to three times where that may help, with jitter between."""
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(TransientError),
        stop=stop_after_attempt(REDIALS),
        wait=wait_random_exponential(multiplier=0.2, max=2),
        reraise=True,
    ):
        with attempt:
            return await open_link(host, access, mode=mode, fleet=fleet)
    raise AssertionError("unreachable: the last failure is raised again")


def _answer(question: Question, heard: wire.Heard | None) -> Answer:
    if heard is None:
        return Answer(question, Said.NOTHING, "it left this one out")
    return Answer(question, Said.YES if heard.ok else Said.NO, heard.detail)


def _refusal(host: str, verb: str, refused: RefusedError) -> Exception:
    """The error that a refusal stands for."""
    complaint = refused.complaint
    match complaint.kind:
        case protocol.STALE:
            return StaleOrderError(host, complaint.generation, complaint.author)
        case protocol.CHANGED:
            return ChangedError(host, complaint.serial)
        case protocol.FOREIGN:
            return ForeignRootError(host, complaint.message, hint=complaint.hint)
        case protocol.EXISTS:
            return InstanceExistsError(host, complaint.message, hint=complaint.hint)
        case protocol.TIMEOUT | protocol.FAILED_WAIT:
            timed_out = complaint.kind == protocol.TIMEOUT
            return WaitError(host, complaint.message, log=tuple(complaint.log), timed_out=timed_out)
        case protocol.MISMATCH:
            return HostError(host, f"the upload arrived damaged: {complaint.message}", hint="try again")
        case protocol.ROOT_HANGS:
            return HostError(host, complaint.message, hint=complaint.hint)
        case _:
            said = complaint.message or complaint.kind
            return HostError(host, f"refused to {verb}: {said}", hint=complaint.hint)
