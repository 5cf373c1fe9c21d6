"""Performs examples against the service, and says what differs."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from conformance.calls import CALLS, Call
from conformance.examples import Example, Sdk, examples, request_of
from conformance.shapes import differences
from conformance.stage import Stage, bearer
from plugins.nexus import Nexus


@dataclass(frozen=True)
class Compared:
    """One example, and how our answer differs; nothing: not at all."""

    example: Example
    differences: Sequence[str]


async def compare_all(nexus: Nexus) -> list[Compared]:
    """All examples, each method's with a developer of its own."""
    sdk = Sdk.make()
    found = []
    for name, those in itertools.groupby(examples(), key=lambda one: f"{one.service}.{one.method}"):
        stage = await Stage.set_up(nexus, name)
        found += [await compare(stage, example, sdk) for example in those]
        await stage.http.aclose()
    return found


async def compare(stage: Stage, example: Example, sdk: Sdk) -> Compared:
    """Make the SDK's request of us instead, with our ids in it."""
    call = await CALLS[example.method](stage, example)
    request = request_of(example, call.make, sdk)
    address = urlsplit(str(request.url))
    path = with_ours(address.path + (f"?{address.query}" if address.query else ""), call)
    login = call.login
    if login is None:
        login = bearer(stage.token_for(path.removeprefix("/v2/")))
    content_type = request.headers.get("Content-Type")
    answer = await stage.http.request(
        str(request.method),
        path,
        content=with_ours(_text(request.body), call).encode(),
        headers={**login, **({"Content-Type": content_type} if content_type else {})},
    )
    return Compared(example, list(told(example, answer.status_code, answer.json(), call)))


def told(example: Example, status: int, ours: Any, call: Call) -> Sequence[str]:
    """How an answer, `ours`, differs from the example."""
    found = []
    if status != example.response.status:
        found.append(f"status: {status} instead of {example.response.status}")
        if status >= 400 > example.response.status:
            code = ours.get("code") or ours.get("error")
            return [f"{found[0]} ({code})"]
    found += differences(example.response.json, ours)
    found += _not_as_asked(example, ours, call.ids)
    return found


def _not_as_asked(example: Example, ours: Any, ids: Mapping[str, str]) -> list[str]:
    """What the example repeats of the call, and we do not, or otherwise."""
    if example.response.status >= 400 or not isinstance(ours, dict):
        return []
    told = []
    for name, value in example.arguments.items():
        for place, example_part in example.response.json.items():
            our_part = ours.get(place)
            if not isinstance(example_part, dict) or not isinstance(our_part, dict):
                continue
            if example_part.get(name) != value or isinstance(value, list | dict):
                continue
            wanted = ids.get(str(value), value)
            if our_part.get(name) != wanted:
                told.append(f"{place}.{name}: {our_part.get(name)!r}, and {wanted!r} was asked for")
    return told


def with_ours(text: str, call: Call) -> str:
    """With our ids in the places of the example's."""
    for theirs, ours in call.ids.items():
        text = text.replace(quote(theirs, safe=""), quote(ours, safe="")).replace(theirs, ours)
    return text


def _text(body: Any) -> str:
    return body.decode() if isinstance(body, bytes) else str(body or "")
