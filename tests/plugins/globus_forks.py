"""The unmodified `globus` script, run in forks of an interpreter that has its modules imported.

Nine tenths of a short call's processor time are imports, the same ones each time. What runs in a
fork is the installed script itself, as the main module, with the call's own arguments, environment,
directory and standard files.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

SCRIPT = Path(sys.executable).with_name("globus")
READ_AT_IMPORT = "GLOBUS_SDK_ENVIRONMENT"
"""The one variable that the command reads while it is imported: an interpreter for each value."""

REQUEST_BYTES = 200_000
"""Most of a call: one message of a Unix socket."""
START_S = 60.0
"""It takes half a second; this is for a busy machine."""


class Forks:
    """The interpreter, and the calls made of it."""

    _of: ClassVar[dict[str | None, "Forks"]] = {}

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Forks":
        """The interpreter for calls with such an environment; it ends with this process."""
        kind = environment.get(READ_AT_IMPORT)
        if kind not in cls._of:
            cls._of[kind] = cls(environment)
        return cls._of[kind]

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._requests, theirs = _pair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=dict(environment),
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self._end)

    def _end(self) -> None:
        self._requests.close()
        self._process.wait(START_S)

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], stdin: str, timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run` of the script, captured. Raises `subprocess.TimeoutExpired`."""
        words = [str(SCRIPT), *arguments]
        request = json.dumps([words, dict(environment), str(Path.cwd())]).encode()
        with contextlib.ExitStack() as stack:
            given, out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
            given.write(stdin.encode())
            given.seek(0)
            answers, theirs = (stack.enter_context(end) for end in _pair())
            files = [file.fileno() for file in (given, out, err, theirs)]
            socket.send_fds(self._requests, [request], files)
            theirs.close()
            answers.settimeout(START_S)
            pid = int(answers.recv(20))
            answers.settimeout(timeout_s)
            try:
                code = int(answers.recv(20))
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(words, timeout_s) from None
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(
                words, code, out.read().decode(), err.read().decode()
            )


def _pair() -> tuple[socket.socket, socket.socket]:
    """It keeps the boundaries of messages."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _import_all() -> None:
    import globus_cli  # for the forks alone

    for module in pkgutil.walk_packages(globus_cli.__path__, "globus_cli."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def _next_call(requests: socket.socket) -> Path:
    """Fork for each request until there are no more; returns only in a fork that is to be the
    command, and set up as such."""
    while True:
        request, files, _, _ = socket.recv_fds(requests, REQUEST_BYTES, 4)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not request:
            sys.exit()
        if os.fork() == 0:
            break
        for descriptor in files:
            os.close(descriptor)
    requests.close()
    *standard, told = files
    answers = socket.socket(fileno=told)
    pid = os.fork()
    if pid != 0:
        answers.send(str(pid).encode())
        _, status = os.waitpid(pid, 0)
        answers.send(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    answers.close()
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
        os.close(descriptor)
    words, environment, directory = json.loads(request)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    sys.argv = words
    return Path(words[0])


if __name__ == "__main__":
    _import_all()
    gc.freeze()  # what the collector does not touch stays shared with the forks
    script = _next_call(socket.socket(fileno=int(sys.argv[1])))
    sys.path[0] = str(script.parent)
    runpy.run_path(str(script), run_name="__main__")
