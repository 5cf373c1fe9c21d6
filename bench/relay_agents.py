"""``python relay_agents.py PORT HOST_KEY COUNT``: idle agents, all in one process.

Each holds a tunnel to the relay, as `towpath connect` does, and comes back when it loses it. Tells
by a line of JSON each second how many are there, and how often coming failed.
"""

import asyncio
import json
import random
import sys
from collections import Counter
from contextlib import suppress
from typing import Any
from uuid import uuid4

import asyncssh
import uvloop

from towpath.tunnel import CONTROL_FORWARD, PROTOCOL, SUBSYSTEM
from towpath.tunnel import messages as words

FIRST_RETRY_S = 1.0
"""After a loss each agent waits for so long, more or less by half; each failure doubles it."""
LAST_RETRY_S = 30.0
PATIENCE_S = 20.0
"""As long as an agent waits for its tunnel."""

counts: Counter[str] = Counter()


async def main(port: str, host_key: str, count: str) -> None:
    """All of them, until killed."""
    known: Any = ([asyncssh.import_public_key(host_key)], [], [])
    async with asyncio.TaskGroup() as agents:
        for _ in range(int(count)):
            agents.create_task(_agent(int(port), known))
        while True:
            print(json.dumps(counts), flush=True)
            await asyncio.sleep(1)


async def _agent(port: int, known: Any) -> None:
    key, node_id = asyncssh.generate_private_key("ssh-ed25519"), str(uuid4())
    options = await asyncssh.SSHClientConnectionOptions.construct(
        config=None,
        agent_path=None,
        username=node_id,
        client_keys=[key],
        known_hosts=known,
        preferred_auth="publickey",
        compression_algs=["none"],
        keepalive_interval=15,
        keepalive_count_max=2,
    )
    retry_s = FIRST_RETRY_S
    while True:
        try:
            async with asyncio.timeout(PATIENCE_S):
                connection, reader = await _tunnel(port, options)
        except (OSError, asyncssh.Error, TimeoutError) as error:
            refused = isinstance(error, ConnectionRefusedError)
            counts["refused" if refused else "failed"] += 1
            await asyncio.sleep(retry_s * random.uniform(0.5, 1.5))
            retry_s = min(2 * retry_s, LAST_RETRY_S)
            continue
        retry_s = FIRST_RETRY_S
        counts["there"] += 1
        with suppress(OSError, asyncssh.Error):
            await reader.read()  # nothing is told to idle agents
        counts["there"] -= 1
        connection.abort()
        await asyncio.sleep(retry_s * random.uniform(0.5, 1.5))


async def _tunnel(
    port: int, options: asyncssh.SSHClientConnectionOptions
) -> tuple[asyncssh.SSHClientConnection, "asyncssh.SSHReader[bytes]"]:
    connection = await asyncssh.connect("127.0.0.1", port, options=options)
    try:
        await connection.start_server(lambda *_: None, *CONTROL_FORWARD, encoding=None)
        writer, reader, _ = await connection.open_session(subsystem=SUBSYSTEM, encoding=None)
        writer.write(words.encode(words.Hello(1, "0.1.0", PROTOCOL)))
        answer = words.decode_report((await reader.readline()).rstrip(b"\n"))
        if not isinstance(answer, words.Welcome):
            raise OSError(str(answer))
    except BaseException:
        connection.abort()
        raise
    return connection, reader


if __name__ == "__main__":
    asyncssh.set_log_level("ERROR")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(*sys.argv[1:]))
