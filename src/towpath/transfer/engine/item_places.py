"""Where the items of a task have their ends, so that none deletes what is another's."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from towpath.gridftp.client.session import Session
from towpath.transfer.engine.context import ancestors, at_destination, at_source, join
from towpath.transfer.engine.links import link_targets, real_places
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
        """Within one server `real_sources` and `real_destinations` are where the ends really are,
        when links on the way to them are followed."""
        self._above: dict[str, list[Item]] = {}
        for item in items:
            assert item.destination_path is not None, "a transfer's items have destinations"
            self._above.setdefault(item.destination_path, []).append(item)
        self._destinations = sorted(self._above)
        self._sources = sorted(real_sources)
        self._real_destinations = real_destinations or {}

    def protect(self, item: Item, below: str) -> bool:
        """Whether what is `below` an item's destination must stay: an item's destination is there
        or below it; or a source is, or has it."""
        assert item.destination_path is not None, "a transfer's items have destinations"
        if _any_in(self._destinations, join(item.destination_path, below)):
            return True
        if not self._sources:
            return False
        real = self._real_destinations.get(item.destination_path, item.destination_path)
        real = join(real, below)
        return _any_in(self._sources, real) or any(
            _is_in(self._sources, above) for above in ancestors(real)
        )

    def others(self, path: str, item_no: int) -> list[str]:
        """What at the source is copied to this path, too, by other items than this one."""
        return [
            join(item.source_path, path[len(above.rstrip("/")) + 1 :])
            for above in ancestors(path)
            for item in self._above.get(above, ())
            if item.item_no != item_no
        ]


async def places_on_one_server(
    items: Iterable[Item], source: Session, destination: Session
) -> ItemPlaces:
    """For a transfer within one server. Raises SidedError."""
    sources: list[str] = []
    destinations: dict[str, str] = {}
    for item in items:
        assert item.destination_path is not None, "a transfer's items have destinations"
        with at_source():
            targets = await link_targets(source, item.source_path)
        sources += [item.source_path, real_places(item.source_path, targets)[-1]]
        with at_destination():
            targets = await link_targets(destination, item.destination_path)
        destinations[item.destination_path] = real_places(item.destination_path, targets)[-1]
    return ItemPlaces(items, real_sources=set(sources), real_destinations=destinations)


def _is_in(paths: Sequence[str], path: str) -> bool:
    """Whether sorted `paths` have it."""
    at = bisect_left(paths, path)
    return paths[at : at + 1] == [path]


def _any_in(paths: Sequence[str], place: str) -> bool:
    """Whether any of sorted `paths` is `place` or below it."""
    below = place.rstrip("/") + "/"
    at = bisect_left(paths, below)
    return _is_in(paths, place) or any(path.startswith(below) for path in paths[at : at + 1])
