"""Routes of live progress: streams of server-sent events (WHATWG HTML, 9.2), for one task and for
all of the caller's that are not finished."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from fastapi import Query, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from towpath.platform.database import AWAY, is_away
from towpath.platform.errors import ApiError
from towpath.platform.guard import Principal, bearer_of
from towpath.platform.http import new_router
from towpath.transfer import times
from towpath.transfer.api.answers.progress import TaskThroughput, streams
from towpath.transfer.api.documents import event_document
from towpath.transfer.api.service import PREFIX, SCOPE, Caller, Service, TransferService, own_task
from towpath.transfer.live.hub import LISTENERS_LIMIT, LISTENERS_PER_CALLER, TooManyListenersError
from towpath.transfer.live.listener import Listener
from towpath.transfer.live.messages import STILL_HERE, message
from towpath.transfer.store import progress, throughput

router = new_router(PREFIX)

STILL_HERE_S: Final = 15.0
"""Proxies end a connection that has been silent for a minute or less."""
CHECK_CALLER_S: Final = 45.0
"""Who is suspended, or whose token is revoked, watches for a minute at most: this, and the time for
which an answer of nexus is good."""
SEND_S: Final = 60.0
"""A reader that takes nothing for so long is gone, or might as well be."""
EVENTS_READ: Final = 100
"""From the database at once, for a reader that was not there."""
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Connection": "close",  # a reader that kept it open would hold up a service that stops
    "X-Accel-Buffering": "no",  # nginx passes on what there is
}
RETRY_AFTER_S: Final = 30
DATABASE_RETRY_S: Final = 1.0
ENDED_TOLD: Final = 100
"""Tasks that ended while nobody listened; as many as a user may have that have not."""
COMMITTED_WITHIN: Final = timedelta(seconds=10)
"""A task's end has the time at which its last transaction began."""
LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC).timestamp()
"""Of moments that a calendar holds."""

_ID_DIGITS: Final = 19
"""Of the greatest number that the database has; the text of a header may have any length."""

_LastEventId = Annotated[str | None, Query(max_length=100)]


class ProgressStream(Response):
    """The answer that goes on while there is something to tell, and somebody to tell it to.

    It ends with the task, with the token, with the service, and with a reader that takes nothing.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        service: TransferService,
        caller: Principal,
        bearer: str,
        task_no: int | None,
        *,
        after: int = 0,
    ) -> None:
        """`after`: the id of the last message that the reader has, if it has one: an event's, or of
        all tasks a moment in microseconds since 1970."""
        super().__init__(headers=HEADERS)
        del self.headers["Content-Length"]
        self._service = service
        self._caller = caller
        self._bearer = bearer
        self._task_no = task_no
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        listener = self._listen()
        try:
            await self._tell_ended(listener)
            await self._answer(listener, receive, send)
        finally:
            self._service.hub.leave(listener)

    async def _answer(self, listener: Listener, receive: Receive, send: Send) -> None:
        telling = asyncio.create_task(self._tell(listener, send))
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait((telling, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for part in (telling, gone):
                part.cancel()
            await asyncio.gather(telling, gone, return_exceptions=True)
        if not telling.cancelled() and (error := telling.exception()) is not None:
            raise error

    async def _tell_ended(self, listener: Listener) -> None:
        """What the reader may not have heard the end of: twice is better than never."""
        if self._task_no is not None or not self._after:
            return
        moment = datetime.fromtimestamp(min(self._after / 1e6, LATEST), UTC) - COMMITTED_WITHIN
        async with self._service.database.connection() as conn:
            ended = await progress.ended_since(conn, self._caller.sub, moment, most=ENDED_TOLD)
        self._service.hub.tell_ended(listener, ended)

    def _listen(self) -> Listener:
        try:
            return self._service.hub.listen(self._caller.sub, self._task_no, after=self._after)
        except TooManyListenersError as error:
            wait = {"Retry-After": str(RETRY_AFTER_S)}
            if error.of_caller:
                raise ApiError(
                    429,
                    "ClientError.TooManyRequests",
                    f"You have {LISTENERS_PER_CALLER} streams of progress open: close one",
                    headers=wait,
                ) from None
            raise ApiError(
                503,
                "ServiceUnavailable",
                f"{LISTENERS_LIMIT} streams of progress are open, or the service stops: try again"
                " later, or ask for the task itself",
                headers=wait,
            ) from None

    async def _tell(self, listener: Listener, send: Send) -> None:
        async def put(chunk: bytes, *, more: bool = True) -> None:
            async with asyncio.timeout(SEND_S):
                await send({"type": "http.response.body", "body": chunk, "more_body": more})

        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        with contextlib.suppress(TimeoutError):
            async for chunk in self._chunks(listener):
                await put(chunk)
            await put(b"", more=False)

    async def _chunks(self, listener: Listener) -> AsyncIterator[bytes]:
        clock = asyncio.get_running_loop().time
        check_at = clock() + CHECK_CALLER_S
        while True:
            if clock() >= check_at:
                if not await self._may_listen():
                    return
                check_at = clock() + CHECK_CALLER_S
            if listener.over:
                return
            chunk = listener.take()
            if listener.behind and listener.began:
                chunk += await self._missed(listener)
            if chunk:
                yield chunk
                continue
            try:
                async with asyncio.timeout(min(check_at - clock(), STILL_HERE_S)):
                    await listener.news.wait()
            except TimeoutError:
                yield STILL_HERE

    async def _may_listen(self) -> bool:
        """Whether the caller's token still opens this door."""
        try:
            found = await self._service.guard.principal(self._bearer)
        except ApiError:
            return False
        return SCOPE in found.scopes and found.sub == self._caller.sub

    async def _missed(self, listener: Listener) -> bytes:
        """The next events that the reader does not have, from the database."""
        task_no, cursor, newest = listener.task_no, listener.cursor, listener.newest
        assert task_no is not None, "who listens to one task is told its events"
        try:
            async with self._service.database.connection() as conn:
                found = await progress.events_after(conn, {task_no: cursor}, most=EVENTS_READ)
        except AWAY as error:
            if not is_away(error):
                raise
            await asyncio.sleep(DATABASE_RETRY_S)
            return STILL_HERE
        events = found.get(task_no, [])
        more = len(events) == EVENTS_READ
        read = max([cursor, *(event.seq for event in events)])
        # If there are no more, then what is missing up to the newest of before is not there now.
        listener.caught_up(read if more else max(read, newest), more=more)
        return b"".join(message("event", event_document(one), id=one.seq) for one in events)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@router.get("/task/{task_id}/progress", response_class=Response, responses=streams())
async def task_progress(
    task_id: str,
    request: Request,
    caller: Caller,
    service: Service,
    last_event_id: _LastEventId = None,
) -> Response:
    """A task as it goes, until it ends."""
    after = _last_event(request, last_event_id)
    async with service.database.connection() as conn:
        task = await own_task(conn, task_id, caller.sub)
    return ProgressStream(service, caller, bearer_of(request), task.task_no, after=after)


@router.get("/task_progress", response_class=Response, responses=streams())
async def all_progress(
    request: Request, caller: Caller, service: Service, last_event_id: _LastEventId = None
) -> Response:
    """The caller's unfinished tasks as they go, and those that come."""
    after = _last_event(request, last_event_id)
    return ProgressStream(service, caller, bearer_of(request), None, after=after)


def _last_event(request: Request, parameter: str | None) -> int:
    """The number of the last event that the reader has; 0: none."""
    text = request.headers.get("Last-Event-ID") or parameter
    if not text:
        return 0
    digits = text.isascii() and text.isdecimal() and len(text) <= _ID_DIGITS
    if not (digits and int(text) < 2**63):
        raise ApiError.bad_request(f"last_event_id: {text[:40]!r} is not the id of an event")
    return int(text)


@router.get("/task/{task_id}/throughput", response_model=TaskThroughput)
async def task_throughput(task_id: str, caller: Caller, service: Service) -> JSONResponse:
    """What a task had done at instants from its start to now."""
    async with service.database.connection() as conn:
        task = await own_task(conn, task_id, caller.sub)
        found = await throughput.until_now(conn, task.task_no)
    return JSONResponse(
        {
            "DATA_TYPE": "task_throughput",
            "task_id": str(task.id),
            "interval_s": found.interval_s,
            "DATA": [
                {
                    "time": times.show_exactly(point.at),
                    "bytes": point.bytes,
                    "files": point.files,
                    "faults": point.faults,
                }
                for point in found.points
            ],
        }
    )
