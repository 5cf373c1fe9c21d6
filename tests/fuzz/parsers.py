"""Command lines, as the session's half reads them."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fuzz.bending import bent
from fuzz.campaign import HangError, One
from fuzz.lines import line
from towpath.gridftp.server.limits import COMMAND_BYTES
from towpath.gridftp.wire import answers
from towpath.gridftp.wire.request_lines import parse_request
from towpath.gridftp.wire.requests import RequestError

LINE_S = 2.0
"""Of processor time for a line; the longest takes some ms."""


@contextmanager
def parser(_workdir: Path) -> Iterator[One]:
    """Lines give a request, or a refusal that is one reply."""
    yield _one


def _refusal(text: bytes) -> RequestError | None:
    try:
        parse_request(text)
    except RequestError as error:
        return error
    return None


def _one(dice: random.Random) -> None:
    for _ in range(100):
        text = line(dice, [b"/a", b"d/f", b"*"])
        if dice.randrange(200) == 0:  # as long as may be: no pattern may take long to find nothing
            part = bent(dice, text)[-dice.randint(1, 30) :] or b"a"
            text = (text[: dice.randint(0, len(text))] + part * (COMMAND_BYTES // len(part)))[
                :COMMAND_BYTES
            ]
        began = time.thread_time()
        refusal = _refusal(text)
        if refusal is not None:
            assert 400 <= refusal.code < 600, refusal
            assert answers.reply(refusal.code, refusal.text).count(b"\n") == 1
        if time.thread_time() - began > LINE_S:
            raise HangError(f"{time.thread_time() - began:.1f} s for {text[:100]!r}...")
