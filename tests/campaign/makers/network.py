"""Faults of connections: of a server's control channels, and of the data channels that it receives.

The control channel is encrypted, so what is done there is done to bytes that mean something to
nobody between; the data channel is in clear unless a task asks for encryption.
"""

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
STALL_S = 10.0
"""Longer than the settings allow: it is cut and resumed."""
REFUSED_S = 1.5


class ConnectionFault(Maker):
    """Waits for bytes on a connection, and does something to it before they are forwarded."""

    what: ClassVar[str]
    for_s: ClassVar[float] = 0.0
    damages_data: ClassVar[bool] = False

    def ports(self, place: Place) -> range:
        """Of which connections are hit."""
        raise NotImplementedError

    def aim(self, random: Random) -> tuple[str, int]:
        """The direction, and how many bytes pass before."""
        raise NotImplementedError

    async def strike(self, scene: Scene, random: Random) -> Hit | None:
        place = pick_place(scene, random, honest_too=not self.damages_data)
        direction, after = self.aim(random)
        hit = await scene.ground.network.trap(
            self.what,
            self.ports(place),
            direction=direction,
            after=after,
            within_s=PATIENCE_S,
            for_s=self.for_s,
        )
        if hit is None:
            return None
        words = f"{self.kind}: connection {hit.client_port} to {place.name}:{hit.port}"
        return Hit.of(words, scene.tasks_of(place))


class ControlFault(ConnectionFault):
    """Of a control channel."""

    def ports(self, place: Place) -> range:
        return place.control_ports

    def aim(self, random: Random) -> tuple[str, int]:
        return random.choice(("up", "down")), random.randrange(CONTROL_BYTES)


class DataFault(ConnectionFault):
    """Of a data channel, seen from the server that receives."""

    def ports(self, place: Place) -> range:
        return place.data_ports

    def aim(self, random: Random) -> tuple[str, int]:
        return "up", random.randrange(DATA_BYTES)


@maker
class ControlCut(ControlFault):
    """Both ends hear the end."""

    kind = "control cut"
    what = "cut"


@maker
class ControlReset(ControlFault):
    """Both ends hear that the connection is void."""

    kind = "control reset"
    what = "reset"


@maker
class DataCut(DataFault):
    """Both ends hear the end."""

    kind = "data cut"
    what = "cut"


@maker
class DataReset(DataFault):
    """Both ends hear that the connection is void."""

    kind = "data reset"
    what = "reset"
