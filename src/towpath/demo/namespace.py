"""A network namespace of this machine, with an `/etc/hosts` and a `/run` of its own.

What is started in it dies with it, and nothing is left behind. It needs root and iproute2.
"""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from socket import gethostname

_KEEP = 'mount -t tmpfs tmpfs /run && ip link set lo up && echo && exec "$@"'

_NAMES = (
    "cat >/run/hosts && mount --bind /run/hosts /etc/hosts"
    " && mount --bind /dev/null /etc/resolv.conf"
)
"""Servers ask for the machine's own name, and for those of addresses."""


class LinkError(RuntimeError):
    """A host, or what is between hosts, cannot be made here."""


class Namespace:
    """Kept by a process that does nothing; use `open`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.enter = ("nsenter", f"--target={pid}", "--net", "--mount")
        """The words before a program's own that run it there."""

    @classmethod
    @contextmanager
    def open(cls) -> Iterator["Namespace"]:
        """Make it. Raises LinkError."""
        keeper = subprocess.Popen(
            [
                *("unshare", "--net", "--mount", "setpriv", "--pdeathsig", "KILL"),
                *("sh", "-c", _KEEP, "sh", "sleep", "infinity"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with keeper:
            try:
                assert keeper.stdout is not None
                assert keeper.stderr is not None
                if not keeper.stdout.readline():
                    said = keeper.stderr.read().decode(errors="replace").strip()
                    raise LinkError(f"no network namespace can be made here: {said}")
                yield cls(keeper.pid)
            finally:
                keeper.kill()

    def run(self, *command: str, text: str = "") -> str:
        """A program that is done at once; what it prints. Raises LinkError."""
        return run(*self.enter, *command, text=text)

    def know(self, addresses: Mapping[str, str]) -> None:
        """Addresses by name; nothing else has a name there, and no name is asked for."""
        lines = [f"127.0.0.1 localhost {gethostname()}"]
        lines += [f"{address} {name}" for name, address in addresses.items()]
        self.run("sh", "-c", _NAMES, text="\n".join(lines) + "\n")


def run(*command: str, text: str = "") -> str:
    """A program on this machine; what it prints. Raises LinkError."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LinkError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
