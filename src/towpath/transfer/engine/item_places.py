"""Where the items of a task have their ends, so that none deletes what is another's."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from towpath.gridftp.client.session import Session
from towpath.transfer.engine.context import at_destination, at_source, join
from towpath.transfer.places import ancestors, link_targets, real_places
from towpath.transfer.store.plan import Item


class ItemPlaces:
    """Where the items of a task have their ends, to keep one from deleting what is another's."""

    def __init__(
        self,
        items: Iterable[Item],
        *,
        real_sources: Iterable[str] = (),
        real_destinations: Mapping[str, str] | None = None,
    ) -> None:
        """`real_destinations`, and within one server `real_sources`, are where the ends really are,
        when links on the way to them are followed."""
        self._real_destinations = real_destinations or {}
        self._above: dict[str, list[Item]] = {}
        for item in items:
            for place in self._at_destination(item):
                self._above.setdefault(place, []).append(item)
        self._destinations = sorted(self._above)
        self._sources = sorted(real_sources)

    def protect(self, item: Item, below: str) -> bool:
        """Whether what is `below` an item's destination must stay: an item's destination is there
        or below it; or a source is, or has it."""
        places = self._at_destination(item, below)
        if any(_any_in(self._destinations, place) for place in places):
            return True
        if not self._sources:
            return False
        real = places[-1]
        return _any_in(self._sources, real) or any(
            _is_in(self._sources, above) for above in ancestors(real)
        )

    def others(self, item: Item, below: str) -> list[str]:
        """What at the source is copied to this place `below` an item's destination, too, by other
        items."""
        found = {
            join(other.source_path, path[len(above.rstrip("/")) + 1 :]): None
            for path in self._at_destination(item, below)
            for above in ancestors(path)
            for other in self._above.get(above, ())
            if other.item_no != item.item_no
        }
        return list(found)

    def linked(self, target: str) -> list[tuple[int, str]]:
        """Within one server: the items whose destinations hold what a link leads to, and where
        below them. Of an item's own source it is not asked: it stays anyway."""
        above = ancestors(target)
        if not self._sources or any(_is_in(self._sources, place) for place in (target, *above)):
            return []
        return [
            (item.item_no, target[len(place.rstrip("/")) + 1 :])
            for place in above
            for item in self._above.get(place, ())
        ]

    def _at_destination(self, item: Item, below: str = "") -> list[str]:
        """A place as the item spells it, and where it really is; once, if that is the same."""
        spelled = item.destination_path
        assert spelled is not None, "a transfer's items have destinations"
        roots = dict.fromkeys((spelled, self._real_destinations.get(spelled, spelled)))
        return [join(root, below) if below else root for root in roots]


async def real_item_places(
    items: Iterable[Item], source: Session, destination: Session, *, one_server: bool
) -> ItemPlaces:
    """`one_server`: the transfer is within one. Raises SidedError."""
    items = list(items)
    with at_destination():
        destinations = await _real(destination, [str(item.destination_path) for item in items])
    if not one_server:
        return ItemPlaces(items, real_destinations=destinations)
    with at_source():
        sources = await _real(source, [item.source_path for item in items])
    return ItemPlaces(
        items,
        real_sources={*sources, *sources.values()},
        real_destinations=destinations,
    )


async def _real(session: Session, paths: Sequence[str]) -> dict[str, str]:
    """Where paths really are. Raises GridFTPError."""
    targets = await link_targets(session, *paths)
    return {path: real_places(path, targets)[-1] for path in paths}


def _is_in(paths: Sequence[str], path: str) -> bool:
    """Whether sorted `paths` have it."""
    at = bisect_left(paths, path)
    return paths[at : at + 1] == [path]


def _any_in(paths: Sequence[str], place: str) -> bool:
    """Whether any of sorted `paths` is `place` or below it."""
    below = place.rstrip("/") + "/"
    at = bisect_left(paths, below)
    return _is_in(paths, place) or any(path.startswith(below) for path in paths[at : at + 1])
