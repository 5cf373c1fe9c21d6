"""What `towpath up` leaves in its directory, for commands on a database without a service."""

import json
from pathlib import Path


def leave(directory: Path, database_url: str) -> None:
    """As if it had run there once, at https://towpath.example:8443."""
    for name in ("run", "secrets"):
        (directory / name).mkdir()
    state = {
        "url": "https://towpath.example:8443",
        "host": "towpath.example",
        "bound_host": "127.0.0.1",
        "port": 8443,
        "authority": None,
        "database_url": database_url,
    }
    (directory / "run" / "state.json").write_text(json.dumps(state))
    client = {"client_id": "6e2f1e1a-9a9b-4f0c-8c62-0a1a8c1b7b11", "client_secret": "x"}
    (directory / "secrets" / "operator.json").write_text(json.dumps(client))
