"""``python asyncssh_forward.py serve ADDRESS PORT KEYS`` and ``... forward ADDRESS PORT KEYS LISTEN
TO``: the two ends of a remote forward by asyncssh, as ``ssh -R`` makes it.

``LISTEN`` is a port at the server's address, ``TO`` one of loopback here. ``KEYS`` has the files
``host``, ``user`` and ``user.pub`` of `bench.ssh`. Says by an empty line that it is ready.
"""

import asyncio
import sys

import asyncssh


class _Server(asyncssh.SSHServer):
    def server_requested(self, _address: str, _port: int) -> bool:
        return True


async def main(what: str, address: str, port: str, keys: str, *ports: str) -> None:
    """Serve, or forward, until killed."""
    if what == "serve":
        await asyncssh.listen(
            address,
            int(port),
            server_factory=_Server,
            server_host_keys=[f"{keys}/host"],
            authorized_client_keys=f"{keys}/user.pub",
        )
    else:
        connection = await asyncssh.connect(
            address,
            int(port),
            username="bench",
            client_keys=[f"{keys}/user"],
            known_hosts=None,  # it was started by who starts this
            config=None,
        )
        listen, to = map(int, ports)
        await connection.forward_remote_port(address, listen, "127.0.0.1", to)
    print(flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
