"""Faults of connections: of a server's control channels, and of the data channels that it receives.

The control channel is encrypted, so what is done there is done to bytes that mean something to
nobody between; the data channel is in clear unless a task asks for encryption.
"""

import asyncio
import time
from collections.abc import Sequence
from random import Random
from typing import ClassVar

from campaign.ground import Place
from campaign.makers.base import PATIENCE_S, Hit, Maker, Scene, maker, pick_place

KIBIBYTE = 1024
CONTROL_BYTES = 24 * KIBIBYTE
"""Within so many bytes of a control channel anything may be going on."""
DATA_BYTES = 512 * KIBIBYTE
DELAY_S = 1.0
"""Shorter than anybody's patience."""
STALL_S = 8.0
"""Longer than the settings allow: it is cut and resumed."""
REFUSED_LOOK_S = 0.2
REFUSED_S = (0.0, 3.0)
"""From the first that was refused."""


class ConnectionFault(Maker):
    """Waits for bytes on a connection, and does something to it before they are forwarded."""

    what: ClassVar[str]
    for_s: ClassVar[float] = 0.0
    damages_data: ClassVar[bool] = False

    def ports(self, places: Sequence[Place], random: Random) -> list[range]:
        """Of which connections are hit, at these servers."""
        raise NotImplementedError

    def aim(self, random: Random) -> tuple[str, int]:
        """The direction, and how many bytes pass before."""
        raise NotImplementedError

    async def strike(self, scene: Scene, random: Random) -> Hit | None:
        places = [p for p in scene.ground.places.values() if not (self.damages_data and p.honest)]
        ports = self.ports(places, random)
        direction, after = self.aim(random)
        hit = await scene.ground.network.trap(
            self.what,
            ports,
            direction=direction,
            after=after,
            within_s=PATIENCE_S,
            for_s=self.for_s,
        )
        if hit is None:
            return None
        place = next(p for p in places if hit.port in p.control_ports or hit.port in p.data_ports)
        words = f"connection {hit.client_port} to {place.name}:{hit.port}"
        return Hit.of(words, scene.tasks_of(place))


class ControlFault(ConnectionFault):
    """Of a control channel of one server."""

    def ports(self, places: Sequence[Place], random: Random) -> list[range]:
        return [random.choice(places).control_ports]

    def aim(self, random: Random) -> tuple[str, int]:
        return random.choice(("up", "down")), random.randrange(CONTROL_BYTES)


class DataFault(ConnectionFault):
    """Of a data channel, seen from whichever server receives: there is not always one at each."""

    def ports(
        self,
        places: Sequence[Place],
        random: Random,  # noqa: ARG002 - which one is a matter of who receives
    ) -> list[range]:
        return [place.data_ports for place in places]

    def aim(self, random: Random) -> tuple[str, int]:
        return "up", random.randrange(DATA_BYTES)


class Refused(Maker):
    """For a while nobody can connect."""

    def ports(self, place: Place) -> range:
        """To which ports."""
        raise NotImplementedError

    async def strike(self, scene: Scene, random: Random) -> Hit | None:
        place = pick_place(scene, random)
        async with scene.alone(f"{self.kind} {place.name}"):
            if not await scene.until(lambda: bool(scene.tasks_of(place))):
                return None
            network = scene.ground.network
            await network.refuse(self.ports(place))
            hit = Hit.of(f"{self.kind} at {place.name}", scene.tasks_of(place))
            try:
                until = time.monotonic() + PATIENCE_S
                while not await network.refused(self.ports(place)) and time.monotonic() < until:
                    await asyncio.sleep(REFUSED_LOOK_S)
                await asyncio.sleep(random.uniform(*REFUSED_S))
            finally:
                refused = await network.accept(self.ports(place))
            hit.concerns(scene.tasks_of(place))
            return hit if refused else None


@maker
class ControlCut(ControlFault):
    """Both ends hear the end."""

    kind = "control cut"
    what = "cut"


@maker
class ControlDelay(ControlFault):
    """Nothing comes for a moment."""

    kind = "control delay"
    what = "hold"
    for_s = DELAY_S


@maker
class ControlStall(ControlFault):
    """Nothing comes for so long that it must be given up."""

    kind = "control stall"
    what = "hold"
    for_s = STALL_S


@maker
class ControlHalfClose(ControlFault):
    """One end hears that no more will come from the other."""

    kind = "control half-close"
    what = "half-close"


@maker
class ControlReset(ControlFault):
    """Both ends hear that the connection is void."""

    kind = "control reset"
    what = "reset"


@maker
class ControlCorrupt(ControlFault):
    """Two bits of a command or an answer are others."""

    kind = "control corrupt"
    what = "corrupt"


@maker
class ControlRefused(Refused):
    """Nobody can log in."""

    kind = "control refused"

    def ports(self, place: Place) -> range:
        return place.control_ports


@maker
class DataCut(DataFault):
    """Both ends hear the end."""

    kind = "data cut"
    what = "cut"


@maker
class DataDelay(DataFault):
    """Nothing comes for a moment."""

    kind = "data delay"
    what = "hold"
    for_s = DELAY_S


@maker
class DataStall(DataFault):
    """Nothing comes for so long that it must be given up."""

    kind = "data stall"
    what = "hold"
    for_s = STALL_S


@maker
class DataHalfClose(DataFault):
    """The receiver hears that no more will come."""

    kind = "data half-close"
    what = "half-close"


@maker
class DataReset(DataFault):
    """Both ends hear that the connection is void."""

    kind = "data reset"
    what = "reset"


@maker
class DataCorrupt(DataFault):
    """Two bits of a file are others; the receiver answers 226."""

    kind = "data corrupt"
    what = "corrupt"
    damages_data = True
    tells = frozenset({"VERIFY_CHECKSUM"})


@maker
class DataDropped(DataFault):
    """The receiver answers 226 and has not got all: a block was taken out."""

    kind = "data dropped"
    what = "drop"
    damages_data = True
    tells = frozenset({"VERIFY_CHECKSUM"})


@maker
class DataRefused(Refused):
    """The other servers cannot connect."""

    kind = "data refused"

    def ports(self, place: Place) -> range:
        return place.data_ports
