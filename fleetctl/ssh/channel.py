"""One exec channel as lines: read within bounds, and asked in JSON, many requests at a time.

It knows neither verbs nor what answers mean. When it ends, everything that waits is told so.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import asyncssh

from fleetctl.errors import UnansweredError
from fleetctl.ssh.wire import Ack, Complaint, GarbledError, clean, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

CHUNK_BYTES = 64 * 1024
STDERR_BYTES_KEPT = 4096  # the end of it, for the error that tells why a channel ended
CLOSE_S = 1.0


class ChannelEndError(Exception):
    """No more comes through the channel; `str` says why, for people."""


class RefusedError(Exception):
    """An answer with an error in it."""

    def __init__(self, complaint: Complaint, answer: Mapping[str, Any]) -> None:
        super().__init__(complaint.message)
        self.complaint, self.answer = complaint, answer


class LineChannel:
    """A running command's descriptors, as lines and raw bytes. Close it."""

    def __init__(self, process: asyncssh.SSHClientProcess[bytes]) -> None:
        self._process = process
        self._unread = bytearray()
        self._stderr = bytearray()
        self._listener = asyncio.create_task(self._keep_stderr())

    def write(self, data: bytes) -> None:
        """Raises ChannelEndError."""
        try:
            self._process.stdin.write(data)
        except (OSError, asyncssh.Error) as error:
            raise ChannelEndError(_told(error)) from None

    async def drain(self) -> None:
        """Wait until the other side takes more. Raises ChannelEndError."""
        try:
            await self._process.stdin.drain()
        except (OSError, asyncssh.Error) as error:
            raise ChannelEndError(_told(error)) from None

    async def read_line(self, bytes_max: int) -> bytes:
        """The next line, without its end. Raises ChannelEndError, also at a line that is longer than that."""
        end = -1
        searched = 0
        while (end := self._unread.find(b"\n", searched)) < 0:
            searched = len(self._unread)
            if searched > bytes_max:
                raise ChannelEndError(f"it sent a line of more than {bytes_max} bytes")
            self._unread += await self._read()
        line = bytes(self._unread[:end])
        del self._unread[: end + 1]
        return line

    async def read(self, bytes_max: int) -> bytes:
        """What comes next, at least one byte and at most that many. Raises ChannelEndError."""
        if not self._unread:
            self._unread += await self._read()
        part = bytes(self._unread[:bytes_max])
        del self._unread[:bytes_max]
        return part

    async def skip_to(self, marker: bytes, bytes_max: int) -> bytes:
        """Throw away everything up to and with `marker`, at most that many bytes; returns the end of it."""
        passed = 0
        while (found := self._unread.find(marker)) < 0:
            surplus = max(0, len(self._unread) - len(marker) - STDERR_BYTES_KEPT)
            del self._unread[:surplus]
            passed += surplus
            if passed > bytes_max:
                raise ChannelEndError(f"its login shell prints more than {bytes_max} bytes")
            self._unread += await self._read()
        noise = bytes(self._unread[:found])
        del self._unread[: found + len(marker)]
        return noise

    async def last_words(self) -> tuple[int | None, str]:
        """After its end: the command's exit status, and the end of what it printed and never was read."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._process.wait_closed()
        said = bytes(self._unread[-STDERR_BYTES_KEPT:]) + bytes(self._stderr)
        lines = [clean(line) for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
        return self._process.exit_status, "; ".join(lines[-3:])

    async def close(self) -> None:
        with suppress(OSError, asyncssh.Error):
            self._process.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._process.wait_closed()
        self._listener.cancel()
        await asyncio.gather(self._listener, return_exceptions=True)

    async def _read(self) -> bytes:
        try:
            data = await self._process.stdout.read(CHUNK_BYTES)
        except (OSError, asyncssh.Error) as error:
            raise ChannelEndError(_told(error)) from None
        if not data:
            raise ChannelEndError("the host closed it")
        return data

    async def _keep_stderr(self) -> None:
        with suppress(OSError, asyncssh.Error):
            while data := await self._process.stderr.read(CHUNK_BYTES):
                self._stderr += data
                del self._stderr[:-STDERR_BYTES_KEPT]


class Conversation:
    """Requests and answers over a channel. Answers may come in any order; each request has a time limit of its own."""

    def __init__(self, host: str, channel: LineChannel, line_bytes_max: int) -> None:
        self._host = host
        self._channel = channel
        self._line_bytes_max = line_bytes_max
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._name = secrets.token_hex(6)
        self._asked = 0
        self.end: str | None = None  # why nothing can be asked any more
        self._reader = asyncio.create_task(self._read_answers())

    async def ask(self, verb: str, content: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        """The answer to one request. Raises RefusedError; UnansweredError when none came, for whatever reason."""
        if self.end is not None:
            raise UnansweredError(self._host, f"can't be asked to {verb}: the link ended: {self.end}")
        self._asked += 1
        operation = f"{self._name}-{self._asked}"
        answered: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[operation] = answered
        try:
            async with asyncio.timeout(limit_s):
                self._channel.write(json.dumps({**content, "id": operation, "do": verb}).encode() + b"\n")
                await self._channel.drain()
                answer = await answered
        except TimeoutError:
            raise UnansweredError(self._host, f"gave no answer to {verb} in {limit_s:g} s") from None
        except ChannelEndError as error:
            raise UnansweredError(self._host, f"the link broke before {verb} was answered: {error}") from None
        finally:
            self._waiting.pop(operation, None)
        return self._judged(verb, answer)

    async def close(self) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        self._finish("it was closed")
        await self._channel.close()

    def _judged(self, verb: str, answer: dict[str, Any]) -> dict[str, Any]:
        try:
            envelope = parse(Ack, answer)
        except GarbledError as error:
            raise UnansweredError(self._host, f"gave an answer to {verb} that can't be understood: {error}") from None
        if not envelope.ok:
            raise RefusedError(envelope.error or Complaint(kind="internal", message="it gave no reason"), answer)
        return answer

    async def _read_answers(self) -> None:
        try:
            while True:
                self._deliver(await self._channel.read_line(self._line_bytes_max))
        except ChannelEndError as error:
            self._finish(str(error))

    def _deliver(self, line: bytes) -> None:
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            raise ChannelEndError("it sent what is not JSON") from None
        operation = answer.get("id") if isinstance(answer, dict) else None
        waiting = self._waiting.get(operation) if isinstance(operation, str) else None
        if waiting is not None and not waiting.done():  # else it comes too late: whoever asked has gone
            waiting.set_result(answer)

    def _finish(self, why: str) -> None:
        self.end = self.end or why
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ChannelEndError(self.end))


def _told(error: Exception) -> str:
    return str(error) or "the host closed it"
