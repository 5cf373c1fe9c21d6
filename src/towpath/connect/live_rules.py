"""Rules that may change while sessions are held to them: what the owner shares now."""

from __future__ import annotations

from collections.abc import Callable

from towpath.dsi.rules import FREE, Access, Rules
from towpath.dsi.storage import PathNotAllowedError


class LiveRules(Rules):
    """What both some rules that are asked for anew each time, and some fixed ones allow."""

    def __init__(self, current: Callable[[], Rules], fixed: Rules = FREE) -> None:
        super().__init__(None)
        object.__setattr__(self, "_current", current)  # rules are frozen
        object.__setattr__(self, "_fixed", fixed)

    _current: Callable[[], Rules]
    _fixed: Rules

    @property
    def allow_all(self) -> bool:
        """Never for long."""
        return False

    def and_also(self, other: Rules) -> LiveRules:
        """See `Rules`."""
        return LiveRules(self._current, self._fixed.and_also(other))

    def access(self, path: bytes) -> Access:
        """See `Rules`."""
        return self._current().access(path) & self._fixed.access(path)

    def demand(self, path: bytes, wanted: Access) -> None:
        """See `Rules`."""
        if wanted not in self.access(path):
            raise PathNotAllowedError(path, writing=Access.WRITE in wanted)

    def demand_below(self, path: bytes, wanted: Access) -> None:
        """See `Rules`."""
        self._current().demand_below(path, wanted)
        self._fixed.demand_below(path, wanted)

    def may_show(self, path: bytes) -> bool:
        """See `Rules`."""
        return self._current().may_show(path) and self._fixed.may_show(path)
