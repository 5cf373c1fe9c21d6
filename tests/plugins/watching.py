"""Reads streams of live progress as a browser does."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx

WAIT_S = 30


@dataclass(frozen=True)
class Message:
    """One message of a stream."""

    event: str
    data: dict[str, Any]
    id: str | None = None


@dataclass
class Watch:
    """A stream that is read, in a thread, until it ends or the context is left."""

    client: httpx.Client
    route: str
    headers: dict[str, str] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    ended: bool = False
    """By the service."""
    _news: threading.Condition = field(default_factory=threading.Condition)
    _response: httpx.Response | None = None

    def __enter__(self) -> Self:
        request = self.client.build_request("GET", f"/v0.10/{self.route}", headers=self.headers)
        self._response = self.client.send(request, stream=True)
        if self._response.status_code == 200:
            assert self._response.headers["Content-Type"].startswith("text/event-stream")
            self._thread = threading.Thread(target=self._read, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        assert self._response is not None
        network = self._response.extensions["network_stream"]
        with contextlib.suppress(OSError):  # it has ended
            network.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        self._thread.join(WAIT_S)
        self._response.close()

    @property
    def response(self) -> httpx.Response:
        """As far as it is there."""
        assert self._response is not None
        return self._response

    def _read(self) -> None:
        assert self._response is not None
        fields: dict[str, str] = {}
        try:
            for line in self._response.iter_lines():
                if line.startswith(":"):
                    self._keep(self.comments, line)
                elif line:
                    name, _, value = line.partition(": ")
                    assert name not in fields
                    fields[name] = value
                elif fields:
                    data = json.loads(fields["data"])
                    self._keep(self.messages, Message(fields["event"], data, fields.get("id")))
                    fields = {}
            assert not fields, "a stream ends after a message"
            self.ended = True
        except httpx.HTTPError:
            pass
        finally:
            with self._news:
                self._news.notify_all()

    def _keep(self, kept: list[Any], one: Any) -> None:
        with self._news:
            kept.append(one)
            self._news.notify_all()

    def of(self, event: str) -> list[Message]:
        """All messages of a kind that have come."""
        return [one for one in list(self.messages) if one.event == event]

    def until(self, seen: Callable[[Message], object], timeout_s: float = WAIT_S) -> Message:
        """The first message, of all that come and have come, that is so."""
        looked = 0
        with self._news:
            while True:
                for one in self.messages[looked:]:
                    if seen(one):
                        return one
                looked = len(self.messages)
                if not self._thread.is_alive() or not self._news.wait(timeout_s):
                    raise AssertionError(f"not told: {self.messages[-5:]}")

    @classmethod
    def last(cls, client: httpx.Client, task_id: str) -> dict[str, Any]:
        """The state of a task that has ended."""
        with cls(client, f"task/{task_id}/progress") as ended:
            ended.to_the_end()
        [state] = ended.of("task")
        return state.data

    def to_the_end(self, timeout_s: float = WAIT_S) -> list[Message]:
        """All messages of a stream that the service ends."""
        self._thread.join(timeout_s)
        assert self.ended, self.messages[-5:]
        return self.messages
