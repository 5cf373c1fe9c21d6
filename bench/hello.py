"""`python -m bench.hello CERTIFICATE KEY`: the least that uvicorn can answer. Prints its port."""

import socket
import sys
from typing import Any

import uvicorn


async def app(_scope: Any, _receive: Any, send: Any) -> None:
    """`hello`, whatever is asked."""
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


def main() -> None:
    """See above."""
    certificate, key = sys.argv[1:]
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        print(bound.getsockname()[1], flush=True)
        config = uvicorn.Config(
            app,
            ssl_certfile=certificate,
            ssl_keyfile=key,
            access_log=False,
            log_level="error",
            lifespan="off",
        )
        uvicorn.Server(config).run(sockets=[bound])


if __name__ == "__main__":
    main()
