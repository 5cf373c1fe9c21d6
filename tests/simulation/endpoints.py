"""Simulated GridFTP servers: what they answer, what becomes of files, and what goes wrong.

They speak the protocol as GCT does, in clear text, as far as the engine asks. What matters is kept:
replies come in order; after one failure on a data channel the next file's bytes go into the wrong
file although both ends say 226; and a session whose client is gone may go on running what it was
told (so a path is contested), never pausing for as long as T_settle.
"""

import posixpath
import time
from collections import deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from simulation import storage
from simulation.loop import OUTSIDE
from simulation.storage import File, Refused, Storage
from simulation.wire import Wire

if TYPE_CHECKING:
    from simulation.world import World

BYTES_PER_S = 400e6
TRANSFER_S = 0.002
"""Of a file, besides its bytes."""

PART_OF_SETTLE = 0.6
"""No server pauses longer than this part of T_settle between two changes: the design's premise."""

WRITING = ("STOR", "ESTO")
FEATURES = (
    "211-Extensions supported\r\n MLST Type*;Size*;Modify*;\r\n MLSC\r\n{time}"
    " CKSM SHA256:1;MD5:2;\r\n DCSC P\r\n PARALLEL\r\n211 End.\r\n"
)
TIMES = (" MFMT\r\n", " STORATTR\r\n", "")
"""By which of them a server takes times; SITE UTIME it does in any case."""


class Endpoint:
    """One server with its storage."""

    def __init__(self, world: "World", number: int, rtt_s: float) -> None:
        self.world = world
        self.number = number
        self.host = f"server{number}.example.org"
        self.ip = f"10.0.0.{number}"
        self.rtt_s = rtt_s
        self.storage = Storage()
        self.sessions: set[ServerSession] = set()
        self.down_until = 0.0
        self.full_until = 0.0
        self.passive: dict[int, ServerSession] = {}
        self.outstanding: dict[str, list[ServerSession]] = {}
        """For each path, the sessions that were told to write it and have not ended that."""
        self.features = FEATURES.format(time=TIMES[number % len(TIMES)]).encode()

    @property
    def is_down(self) -> bool:
        """Whether nobody can connect."""
        return self.world.loop.time() < self.down_until

    def go_down(self, seconds: float) -> None:
        """All its processes are killed."""
        self.down_until = self.world.loop.time() + seconds
        for session in sorted(self.sessions, key=lambda one: one.number):
            session.crash()

    def dial(self) -> Wire:
        """A connection."""
        wire = Wire(self.world, self.rtt_s)
        wire.session = ServerSession(self, wire)
        return wire


class Transfer:
    """A data command that waits for the other end, or moves."""

    __slots__ = ("file", "length", "offset", "path", "verb")

    def __init__(self, verb: str, path: str, file: File, offset: int, length: int) -> None:
        self.verb = verb
        self.path = path
        self.file = file
        self.offset = offset
        self.length = length


class Link:
    """A data channel between two servers; what is sent at one end comes out at the other."""

    def __init__(self, source: "ServerSession", destination: "ServerSession") -> None:
        self.source = source
        self.destination = destination
        self.world = source.world
        self.moving = False

    def match(self) -> None:
        """Both ends may have a command now: then bytes move."""
        sends, takes = self.source.transfer, self.destination.transfer
        if self.moving or sends is None or takes is None:
            return
        self.moving = True
        world, lost = self.world, self.source.lost and self.destination.lost
        size = sends.length if sends.length >= 0 else storage.size_of(sends.file.content)
        seconds = TRANSFER_S + size / BYTES_PER_S + world.weather.delay_s(world.random)
        fault = None if lost else world.weather.of_transfer(world.random)
        if lost or self.destination.lost:
            seconds = world.random.uniform(0.05, PART_OF_SETTLE * world.settle_s)
        if fault is not None:
            world.fault(fault, self.destination.task)
        if fault == "stall":
            return  # until somebody ends a session
        world.loop.call_later(seconds, self._moved, sends, takes, fault, context=OUTSIDE)

    def _moved(self, sends: Transfer, takes: Transfer, fault: str | None) -> None:
        if self.source.transfer is not sends or self.destination.transfer is not takes:
            return  # one end was killed
        self.moving = False
        content = sends.file.content
        first = sends.offset
        if sends.length >= 0:
            content = storage.clip(content, first, first + sends.length)
        if fault in ("lose control at source", "lose control at destination"):
            lost = self.source if fault.endswith("source") else self.destination
            lost.lose(run_on=self.world.random.random() < 0.5)
            if not lost.alive:
                return
        elif fault == "data connection broken":
            self.break_off()
            return
        elif fault == "read error":
            self._write(
                takes, storage.clip(content, first, first + storage.size_of(content) // 2), first
            )
            self.source.done("451 read: Input/output error")
            self.destination.done("426 Data connection broken: Connection reset by peer")
            return
        elif fault == "corrupt":
            size = storage.size_of(content) - first
            content = storage.moved(storage.whole(self.world.token(), size), first)
            self.world.checks.corrupted(self.destination, takes.path)
        elif fault == "lie":  # 226, and half of it is there
            half = first + (storage.size_of(content) - first) // 2
            content = storage.clip(content, first, half)
            self.world.checks.corrupted(self.destination, takes.path)
        self._write(takes, content, first)
        self.source.done("226 Transfer Complete.")
        self.destination.done("226 Transfer Complete.")

    def _write(self, takes: Transfer, content: storage.Content, first: int) -> None:
        file = takes.file
        arrived = storage.moved(content, takes.offset - first)
        file.content = storage.overwritten(file.content, arrived)
        if arrived:
            checks = self.world.checks
            checks.arrives(self.destination, takes.path, arrived[0].first, arrived[-1].after)
        self.destination.touch(file)

    def break_off(self) -> None:
        """The data connection ends, whoever is at it."""
        self.moving = False
        sends, takes = self.source.transfer, self.destination.transfer
        if sends is not None and takes is not None:
            content = sends.file.content
            first = sends.offset
            half = first + (storage.size_of(content) - first) // 2
            if sends.length >= 0:
                half = first + sends.length // 2
            self._write(takes, storage.clip(content, first, half), first)
        for session in (self.source, self.destination):
            if session.transfer is not None:
                session.done("426 Data connection broken: Connection reset by peer")


class ServerSession:
    """One session's process at a server."""

    def __init__(self, endpoint: Endpoint, wire: Wire) -> None:
        self.endpoint = endpoint
        self.world = endpoint.world
        self.wire = wire
        self.task, self.epoch = self.world.who()
        self.number = next(self.world.numbers)
        self.alive = True
        self.lost = False
        """Whether its client is gone, or will hear nothing more."""
        self.mute = False
        self.ending = False
        self.busy = False
        self.queue: deque[str] = deque()
        self.transfer: Transfer | None = None
        self.link: Link | None = None
        self.listens = False
        self._time_of_next: int | None = None
        self.world.note(self.task, endpoint.number, self.number, "CONNECTED")
        endpoint.sessions.add(self)

    # -- the connection

    def begin(self) -> None:
        """Greet."""
        if self.world.weather.too_many(self.world.random):
            self.world.fault("too many sessions", self.task)
            self._say("422 Too busy: too many sessions")
            self.alive = False
            self.endpoint.sessions.discard(self)
            self.wire.finish()
        else:
            self._say("220 simulated ready.")

    def received(self, data: bytes) -> None:
        """Commands."""
        if not self.alive:
            return
        for line in data.decode("utf-8", "surrogateescape").split("\r\n")[:-1]:
            self.queue.append(line)
            path = written_path(line)
            if path is not None:
                self.endpoint.outstanding.setdefault(path, []).append(self)
        if not self.busy:
            self._work()

    def client_ends(self) -> None:
        """The client will say nothing more, and waits for our end."""
        self.ending = True
        self._client_left()

    def client_gone(self) -> None:
        """The client has closed the connection."""
        self.ending = True
        if not self.lost:
            self.lost = True
            self._client_left()
            if self.alive:
                self.world.checks.lost(self)

    def _client_left(self) -> None:
        if not self.alive:
            return
        if not self.busy and not self.queue:
            self._end()
            return
        if self.transfer is not None and self.link is None:
            self.crash()  # nobody will ever connect
            return
        if self.transfer is not None and self.link is not None and self.link.moving:
            self._run_on()  # what hangs does not hang for ever
        if self.world.weather.ends_with_client(self.world.random):
            self.crash()
        else:
            self.world.fault("runs on without client", self.task)

    def _run_on(self) -> None:
        link, transfer = self.link, self.transfer
        seconds = self.world.random.uniform(0.05, PART_OF_SETTLE * self.world.settle_s)
        self.world.loop.call_later(seconds, self._hung_ends, link, transfer, context=OUTSIDE)

    def _hung_ends(self, link: Link, transfer: Transfer) -> None:
        if self.transfer is transfer and link.moving:
            if self.world.random.random() < 0.5 and link.source.transfer is not None:
                assert link.destination.transfer is not None
                link._moved(link.source.transfer, link.destination.transfer, None)
            else:
                self.world.fault("data connection broken", self.task)
                link.break_off()

    def unhang(self) -> None:
        """The client cannot react for long: what hangs goes on, or breaks, soon."""
        if self.transfer is not None and self.link is not None and self.link.moving:
            self._run_on()

    def lose(self, *, run_on: bool) -> None:
        """The connection breaks. Whether the process goes on the client does not know."""
        if not run_on:
            self.crash()
            return
        self.lost = True
        self.ending = True
        self.world.checks.lost(self)
        self.wire.vanish()

    def crash(self) -> None:
        """The process ends at once, in the middle of whatever it does."""
        if not self.alive:
            return
        self.alive = False
        self.world.checks.fault(self.task)
        self._over()
        if self.link is not None:
            self.link.break_off()
            self.transfer = None
        if self.ending and not self.lost:
            self.wire.finish()
        elif not self.lost:
            self.wire.reset()
        self.lost = True

    def _end(self) -> None:
        self.alive = False
        self._over()
        if self.link is not None:
            self.link.break_off()
        if not self.lost:
            self.wire.finish()

    def _over(self) -> None:
        for line in self.queue:
            self._forget(written_path(line))
        self.queue.clear()
        if self.transfer is not None and self.transfer.verb in WRITING:
            self._forget(self.transfer.path)
        self.endpoint.sessions.discard(self)
        if self.listens:
            self.endpoint.passive.pop(1024 + self.number % 64000, None)

    def _forget(self, path: str | None) -> None:
        if path is not None:
            those = self.endpoint.outstanding[path]
            those.remove(self)
            if not those:
                del self.endpoint.outstanding[path]

    @property
    def waits_in_vain(self) -> bool:
        """Whether nobody has connected who could send; so it waits until its client goes."""
        return self.transfer is not None and self.link is None

    @property
    def to_be_written(self) -> list[str]:
        """Paths for which it still has commands."""
        waiting = [path for path in map(written_path, self.queue) if path is not None]
        if self.transfer is not None and self.transfer.verb in WRITING:
            waiting.append(self.transfer.path)
        return waiting

    def _say(self, text: str) -> None:
        if not self.lost and not self.mute:
            self.wire.arrive(f"{text}\r\n".encode("utf-8", "surrogateescape"))

    # -- commands

    def _work(self) -> None:
        said: list[str] = []
        while self.queue and self.alive and not self.busy:
            line = self.queue.popleft()
            reply = self._run(line)
            if reply is not None:
                said.append(reply)
        if said:
            self._say("\r\n".join(said))
        if self.ending and self.alive and not self.queue and not self.busy:
            self._end()

    def done(self, reply: str) -> None:
        """A data command has ended."""
        transfer, self.transfer = self.transfer, None
        assert transfer is not None
        if not self.alive:
            return
        if transfer.verb in WRITING:
            self._forget(transfer.path)
        self.busy = False
        self._say(reply)
        self.world.loop.call_soon(self._work_on, context=OUTSIDE)

    def _work_on(self) -> None:
        if self.alive and not self.busy:
            self._work()

    def _run(self, line: str) -> str | None:
        verb, _, rest = line.partition(" ")
        if verb == "SITE":
            verb, _, rest = rest.partition(" ")
        act = _ACTIONS.get(verb)
        if act is None:
            return "500 Invalid command."
        fault = None if self.lost else self.world.weather.of_command(self.world.random)
        if fault is not None and not self._suffer(fault, line):
            return None
        self.world.note(self.task, self.endpoint.number, self.number, line)
        try:
            return act(self, rest)
        except Refused as refused:
            if (path := written_path(line)) is not None:
                self._forget(path)
            return f"550 {rest}: {refused}"

    def _suffer(self, fault: str, line: str) -> bool:
        """Whether the command is run now."""
        self.world.fault(fault, self.task)
        if fault == "mute":
            self.mute = True
            return True
        if fault == "slow":
            self.busy = True
            self.queue.appendleft(line)
            seconds = self.world.random.uniform(0.1, 0.3 * self.world.settle_s)
            self.world.loop.call_later(seconds, self._wake, context=OUTSIDE)
            return False
        self.queue.appendleft(line)
        self.lose(run_on=fault == "lose control, runs on")
        if self.alive:
            self.queue.popleft()
        return self.alive

    def _wake(self) -> None:
        if self.alive:
            self.busy = False
            self._work()

    def touch(self, file: File) -> None:
        """It has been written just now."""
        file.changed_at = self.world.loop.time()
        file.modified = self.world.unix_s()
        if self._time_of_next is not None:
            file.modified = self._time_of_next
            self._time_of_next = None

    # one method for each

    def _user(self, _: str) -> str:
        return "331 Password required."

    def _pass(self, _: str) -> str:
        return "230 User logged in."

    def _fine(self, _: str) -> str:
        return "200 Command successful."

    def _feat(self, _: str) -> str:
        return self.endpoint.features.decode()[:-2]

    def _pwd(self, _: str) -> str:
        return '257 "/home" is current directory.'

    def _pasv(self, _: str) -> str:
        port = 1024 + self.number % 64000
        self.endpoint.passive[port] = self
        self.listens = True
        return (
            f"227 Entering Passive Mode ({self.endpoint.ip.replace('.', ',')},"
            f"{port >> 8},{port & 255})"
        )

    def _port(self, rest: str) -> str:
        numbers = rest.split(",")
        other = self.world.by_ip[".".join(numbers[:4])]
        port = int(numbers[4]) * 256 + int(numbers[5])
        destination = other.passive.pop(port, None)
        if destination is None or not destination.alive:
            return "425 Connection refused"
        self.link = destination.link = Link(self, destination)
        return "200 PORT Command successful."

    def _stor(self, path: str) -> str | None:
        return self._take("STOR", path, 0)

    def _esto(self, rest: str) -> str | None:
        _, offset, path = rest.split(" ", 2)
        return self._take("ESTO", path, int(offset))

    def _take(self, verb: str, path: str, offset: int) -> str | None:
        files = self.endpoint.storage
        connected = self.listens if self.link is None else self.link.source.alive
        if not connected:
            self._forget(path)
            return "425 Connection refused"
        if self.world.loop.time() < self.endpoint.full_until:
            self._forget(path)
            self.world.fault("disk full", self.task, quiet=True)
            return f"552 {path}: No space left on device"
        self.world.checks.begins(self, path)
        file = files.files.get(path)
        if file is None:
            file = File((), self.world.unix_s(), 0.0)
            files.put(path, file)
        elif verb == "STOR":
            file.content = ()
        file.changed_at = self.world.loop.time()
        if verb == "STOR":
            file.modified = self.world.unix_s()
        self.transfer = Transfer(verb, path, file, offset, -1)
        return self._wait()

    def _retr(self, path: str) -> str | None:
        return self._send(path, 0, -1)

    def _eret(self, rest: str) -> str | None:
        _, first, length, path = rest.split(" ", 3)
        return self._send(path, int(first), int(length))

    def _send(self, path: str, first: int, length: int) -> str | None:
        if self.link is None or not self.link.destination.alive:
            return "425 Connection refused"
        file = self.endpoint.storage.file(path)
        if not file.readable:
            raise Refused("Permission denied")
        self.transfer = Transfer("RETR", path, file, first, length)
        return self._wait()

    def _wait(self) -> None:
        self.busy = True
        if self.link is not None:  # else the other end has not connected yet
            self.link.match()

    def _size(self, path: str) -> str:
        return f"213 {storage.size_of(self.endpoint.storage.file(path).content)}"

    def _cksm(self, rest: str) -> str:
        _, first, length, path = rest.split(" ", 3)
        file = self.endpoint.storage.file(path)
        if not file.readable:
            raise Refused("Permission denied")
        if length == "-1":
            file.compared_at = self.world.loop.time()
        if not self.lost and self.world.weather.wrong_digest(self.world.random):
            self.world.fault("wrong digest", self.task)
            return f"213 {'0' * 32}"
        return f"213 {storage.digest(file.content, int(first), int(length))}"

    def _storattr(self, rest: str) -> str:
        self._time_of_next = from_time(rest.removeprefix("modify=").rstrip(";"))
        return "200 ok"

    def _set_time(self, rest: str) -> str:
        at, _, path = rest.partition(" ")
        self.endpoint.storage.file(path).modified = from_time(at)
        return "213 ok"

    def _mlst(self, path: str) -> str:
        facts = self._facts(path, path, "dir")
        return f"250-status\r\n {facts}\r\n250 End."

    def _mlsc(self, path: str) -> str:
        path = path.rstrip("/") or "/"
        files = self.endpoint.storage
        names = files.directories.get(path)
        if names is None:
            raise Refused("Not a directory" if path in files.files else "No such file or directory")
        here = self._facts(path, ".", "cdir").replace("; .", f";X.count={len(names) + 2}; .")
        lines = [f"250-status of {path}", f" {here}", f" {self._facts(path, '..', 'pdir')}"]
        lines += [f" {self._facts(posixpath.join(path, name), name, 'dir')}" for name in names]
        return "\r\n".join([*lines, "250 End."])

    def _facts(self, path: str, name: str, kind: str) -> str:
        file = self.endpoint.storage.files.get(path)
        if file is not None:
            at, size = as_time(file.modified), storage.size_of(file.content)
            return (
                f"Type=file;Modify={at};Size={size};UNIX.mode=0644;Unique=1-{file.number:x}; {name}"
            )
        if path.rstrip("/") in self.endpoint.storage.directories or path == "/":
            return f"Type={kind};Modify=20300101000000;Size=4096;UNIX.mode=0755; {name}"
        parent = posixpath.dirname(path)
        if parent in self.endpoint.storage.files:
            raise Refused("Not a directory")
        raise Refused("No such file or directory")

    def _mkd(self, path: str) -> str:
        self.endpoint.storage.make_directory(path)
        return f'257 "{path}" created'

    def _dele(self, path: str) -> str:
        self.endpoint.storage.file(path)
        self.world.checks.removes(self, path)
        self.endpoint.storage.remove_file(path)
        return "250 ok"

    def _rmd(self, path: str) -> str:
        self.endpoint.storage.remove_directory(path)
        self.world.checks.removes(self, path)
        return "250 ok"

    def _rdel(self, path: str) -> str:
        for one in list(self.endpoint.storage.tree(path)):
            self.world.checks.removes(self, one)
        if path not in self.endpoint.storage.directories:
            self.endpoint.storage.remove_file(path)
        else:
            self.endpoint.storage.remove_tree(path)
        return "250 ok"


_ACTIONS: dict[str, Callable[[ServerSession, str], str | None]] = {
    "USER": ServerSession._user,
    "PASS": ServerSession._pass,
    **dict.fromkeys(("TYPE", "MODE", "DCAU", "TREV", "OPTS", "NOOP"), ServerSession._fine),
    "FEAT": ServerSession._feat,
    "PWD": ServerSession._pwd,
    "PASV": ServerSession._pasv,
    "PORT": ServerSession._port,
    "STOR": ServerSession._stor,
    "ESTO": ServerSession._esto,
    "RETR": ServerSession._retr,
    "ERET": ServerSession._eret,
    "SIZE": ServerSession._size,
    "CKSM": ServerSession._cksm,
    "STORATTR": ServerSession._storattr,
    "MFMT": ServerSession._set_time,
    "UTIME": ServerSession._set_time,
    "MLST": ServerSession._mlst,
    "MLSC": ServerSession._mlsc,
    "MKD": ServerSession._mkd,
    "DELE": ServerSession._dele,
    "RMD": ServerSession._rmd,
    "RDEL": ServerSession._rdel,
}


def written_path(line: str) -> str | None:
    """What a command writes the data of, if it does."""
    if line.startswith("STOR "):
        return line[5:]
    if line.startswith("ESTO "):
        return line.split(" ", 3)[3]
    return None


def as_time(unix_s: int) -> str:
    """As in listings."""
    return time.strftime("%Y%m%d%H%M%S", time.gmtime(unix_s))


def from_time(text: str) -> int:
    """The opposite."""
    import calendar

    return calendar.timegm(time.strptime(text, "%Y%m%d%H%M%S"))


class Weather:
    """How much goes wrong, by the dice."""

    def __init__(self, roughness: float = 1.0) -> None:
        """0: nothing does."""
        self.roughness = roughness
        self._transfer = _ladder(
            {
                "data connection broken": 0.004,
                "read error": 0.002,
                "corrupt": 0.004,
                "lie": 0.004,
                "lose control at source": 0.003,
                "lose control at destination": 0.006,
                "stall": 0.001,
            },
            roughness,
        )
        self._command = _ladder(
            {
                "lose control, runs on": 0.0006,
                "lose control": 0.0006,
                "mute": 0.0001,
                "slow": 0.0005,
            },
            roughness,
        )

    def of_transfer(self, random: Random) -> str | None:
        """What happens to a file on its way."""
        return _step(self._transfer, random.random())

    def of_command(self, random: Random) -> str | None:
        """What happens to a session at a command."""
        return _step(self._command, random.random())

    def too_many(self, random: Random) -> bool:
        """Whether a server takes no more sessions."""
        return random.random() < 0.003 * self.roughness

    def refused(self, random: Random) -> bool:
        """Whether a connection cannot be made."""
        return random.random() < 0.003 * self.roughness

    def wrong_digest(self, random: Random) -> bool:
        """Whether a server tells a wrong one."""
        return random.random() < 0.001 * self.roughness

    def delay_s(self, random: Random) -> float:
        """How long a disk lets a file wait."""
        return random.uniform(0.1, 3.0) if random.random() < 0.02 * self.roughness else 0.0

    def ends_with_client(self, random: Random) -> bool:
        """Whether a process that was at work ends when its client does."""
        return random.random() < 0.5


def _ladder(rates: dict[str, float], roughness: float) -> list[tuple[float, str]]:
    found, sum_ = [], 0.0
    for name, rate in rates.items():
        sum_ += rate * roughness
        found.append((sum_, name))
    return found


def _step(ladder: list[tuple[float, str]], chance: float) -> str | None:
    if chance >= ladder[-1][0]:
        return None
    return next(name for bound, name in ladder if chance < bound)
