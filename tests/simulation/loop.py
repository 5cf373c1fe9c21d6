"""An event loop whose clock jumps to the next timer when nothing else is left to do.

So an hour of waiting takes no time, and the same seed gives the same run. What belongs to one
simulated process (a worker) can be stopped, as by SIGSTOP, and killed.
"""

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

T = TypeVar("T")

MAX_STEPS_AT_ONE_TIME = 200_000
"""So many rounds without the clock moving are a loop without end."""

TICK_S = 1e-6
"""However short somebody waits, a clock moves."""

TIMERS_KEPT = 200
"""Cancelled timers are swept out when there are more than this, and more than half of all."""


class Process:
    """What runs on a simulated worker: its tasks and callbacks, and what comes for them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.frozen = False
        self.dead = False
        self.tasks: set[asyncio.Task[Any]] = set()
        self.on_kill: list[Callable[[], None]] = []
        self.held: deque[asyncio.Handle] = deque()
        """What would have run while it was frozen."""
        self.context = copy_context()
        self.context.run(PROCESS.set, self)


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)
OUTSIDE: Context = Context()
"""For callbacks of what no worker can stop: servers, the network."""


class NothingLeftError(Exception):
    """All coroutines wait for each other."""


class _Task(asyncio.Task[T]):
    """Hashed by its number: sets of tasks are gone through in the same order in every run."""

    _numbers = itertools.count(1)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._number = next(_Task._numbers)
        super().__init__(*arguments, **options)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class VirtualLoop(asyncio.BaseEventLoop):
    """Use as any loop; there is no real input or output on it."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._steps = 0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = itertools.count()
        _Task._numbers = itertools.count(1)
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        """Seconds since the world began."""
        return self._now

    def freeze(self, process: Process) -> None:
        """Nothing of it runs until `thaw`."""
        process.frozen = True

    def thaw(self, process: Process) -> None:
        """It goes on where it was, and does not know."""
        process.frozen = False
        self._ready.extend(process.held)
        process.held.clear()

    def kill(self, process: Process) -> None:
        """Its connections end and its database is gone. Its tasks are cancelled, which only tidies
        up: nothing that they still do gets out of a dead process."""
        process.dead = True
        for end in process.on_kill:
            end()
        self.thaw(process)
        for task in list(process.tasks):
            task.cancel()

    # -- what asyncio asks for

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], **options: Any
    ) -> "_Task[T]":
        task = _Task(coroutine, loop=loop, **options)
        context = options.get("context")
        process = PROCESS.get() if context is None else context.get(PROCESS)
        if process is not None:
            process.tasks.add(task)
            task.add_done_callback(process.tasks.discard)
        return task

    def run_in_executor(self, _: Any, function: Callable[..., Any], *arguments: Any) -> Any:
        """At once: threads would make no two runs alike."""
        future = self.create_future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            future.set_exception(error)
        return future

    async def create_connection(self, factory: Any, *_: Any, sock: Any, **__: Any) -> Any:
        """`sock` is a simulated one."""
        protocol = factory()
        return sock.connected(protocol), protocol

    def _asyncgen_firstiter_hook(self, _: object) -> None:
        """Generators that are never ended end with the loop: a set of them would only cost."""

    def _process_events(self, event_list: object) -> None:
        raise NotImplementedError

    def _write_to_self(self) -> None:
        pass

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *arguments: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """What is due at one time is called in the order in which that was asked for."""
        timer = asyncio.TimerHandle(when, callback, arguments, self, context)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        timer._scheduled = True
        return timer

    def _run_once(self) -> None:
        ready = self._ready
        if self._timer_cancelled_count > max(TIMERS_KEPT, len(self._timers) / 2):
            self._sweep()
        timers = self._timers
        if not ready:
            while timers and timers[0][2]._cancelled:
                self._timer_cancelled_count -= 1
                heapq.heappop(timers)[2]._scheduled = False
            if not timers:
                raise NothingLeftError
            self._now = now = max(self._now + TICK_S, timers[0][0])
            self._steps = 0
            while timers and timers[0][0] <= now:
                timer = heapq.heappop(timers)[2]
                timer._scheduled = False
                if timer._cancelled:
                    self._timer_cancelled_count -= 1
                else:
                    ready.append(timer)
        self._steps += 1
        if self._steps > MAX_STEPS_AT_ONE_TIME:
            raise RuntimeError(f"no end of it at {self._now}")
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            process = handle._context.get(PROCESS)
            if process is not None and process.frozen:
                process.held.append(handle)
            else:
                try:
                    handle._context.run(handle._callback, *handle._args)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:  # noqa: BLE001 - as `Handle._run`
                    text = f"Exception in callback {handle._callback!r}"
                    told = {"message": text, "exception": error, "handle": handle}
                    self.call_exception_handler(told)

    def _sweep(self) -> None:
        kept = [one for one in self._timers if not one[2]._cancelled]
        for _, _, timer in self._timers:
            timer._scheduled = not timer._cancelled
        heapq.heapify(kept)
        self._timers = kept
        self._timer_cancelled_count = 0
