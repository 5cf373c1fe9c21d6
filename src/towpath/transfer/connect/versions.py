"""Which agents' versions the service serves: its own minor version, the one before, and newer ones.

An agent of the one before is warned: the next release of the service does not serve it.
"""

import re

_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})(?:[.\-+a-z].{0,60})?", re.ASCII)
MINORS_SERVED = 2


class NotAVersion(ValueError):  # noqa: N818 - a statement about a text
    """It does not look like 1.2.3."""


class TooOld(Exception):  # noqa: N818 - a statement about a version
    """This version is not served any more; the text says which is."""


def parse(version: str) -> tuple[int, int]:
    """Major and minor. Raises NotAVersion."""
    match = _VERSION.fullmatch(version)
    if match is None:
        raise NotAVersion(f"{version[:40]!r} is not a version")
    return int(match[1]), int(match[2])


def oldest_served(service: str) -> str:
    """The oldest minor version that `service` serves."""
    major, minor = parse(service)
    return f"{major}.{max(minor - MINORS_SERVED + 1, 0)}"


def check(agent: str, service: str) -> None:
    """Raises NotAVersion, TooOld."""
    oldest = oldest_served(service)
    if parse(agent) < parse(oldest):
        raise TooOld(
            f"This service is version {service} and serves agents from version {oldest} on, and"
            f" this is {agent}: update it"
        )


def warning(agent: str, service: str) -> str | None:
    """What an agent of this version is told: its last release, if it is."""
    oldest = parse(oldest_served(service))
    if parse(agent) == oldest and oldest < parse(service):
        return (
            f"Version {agent} of the agent is not served any more by the release after"
            f" {service}: update it when it suits you"
        )
    return None
