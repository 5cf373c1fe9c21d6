"""Manifests: one byte that is not as it was is found, in the manifest and in every file."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from towpath.dsi.digests import ALGORITHMS, new_digest
from towpath.grants.jws import sign
from towpath.grants.keys import KeySet, SigningKey
from towpath.manifest.lines import KIND, BadManifestError, Sealing, line
from towpath.manifest.verify import Finding, Found, Ground, Kind, Manifest, verify
from towpath.transfer.names import to_text, to_wire

KEY = SigningKey.new()
TRUSTED = KeySet.of([KEY])
RANGE_BYTES = 1000
HEAD = {"towpath_manifest": 1, "issuer": "https://towpath.test", "task_id": "t", "complete": True}


def digest_of(content: bytes, algorithm: str) -> str:
    made = new_digest(algorithm)
    made.update(content)
    return made.hexdigest()


def entry(name: str, content: bytes, algorithm: str | None = "SHA256", **more: Any) -> bytes:
    path = f"/dst/{to_text(name)}"
    document = {
        "source_path": f"/src/{to_text(name)}",
        "destination_path": path,
        "size": len(content),
        "algorithm": algorithm,
        "digest": None if algorithm is None else digest_of(content, algorithm),
    }
    return line(document | more)


def by_ranges(name: str, content: bytes, algorithm: str = "MD5") -> bytes:
    parts = [content[i : i + RANGE_BYTES] for i in range(0, len(content), RANGE_BYTES)]
    digests = "".join(f"{digest_of(part, algorithm)}\n" for part in parts)
    digest = hashlib.sha256(digests.encode()).hexdigest()
    return entry(name, content, algorithm, digest=digest, range_bytes=RANGE_BYTES)


def written(*entries: bytes, key: SigningKey = KEY, head: dict[str, Any] | None = None) -> bytes:
    first = line(head or HEAD)
    sealing = Sealing({name: HEAD[name] for name in ("issuer", "task_id", "complete")})
    sealing.take(first, files=0, size_bytes=0)
    size = sum(json.loads(one)["size"] for one in entries)
    sealing.take(b"".join(entries), files=len(entries), size_bytes=size)
    return first + b"".join(entries) + sealing.tail(key)


class Place:
    """A directory with its files, and the manifest of it."""

    def __init__(self, tmp_path: Path) -> None:
        self.directory = tmp_path / "dst"
        self.file = tmp_path / "manifest"
        self.contents: dict[str, bytes] = {
            "a": b"hello",
            "empty": b"",
            "below/b": bytes(range(256)),
            "below/caf\udce9": b"x" * 100,
            "large": os.urandom(4 * RANGE_BYTES + 17),
            "one range": os.urandom(RANGE_BYTES - 1),
        }
        for name, content in self.contents.items():
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.manifest = written(
            *(
                by_ranges(name, content)
                if name in ("large", "one range")
                else entry(name, content, algorithm)
                for algorithm, (name, content) in zip(
                    (*ALGORITHMS, *ALGORITHMS), self.contents.items(), strict=False
                )
            )
        )
        self.file.write_bytes(self.manifest)

    def read(self, trusted: KeySet | None = TRUSTED) -> Manifest:
        return Manifest(self.file, trusted)

    def compare(self, **more: Any) -> tuple[Found, list[Finding]]:
        findings: list[Finding] = []
        ground = Ground(os.fsencode(self.directory), "/dst", "destination", to_wire)
        return verify(self.read(), ground, report=findings.append, **more), findings


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """For tests that leave it as it is."""
    return Place(tmp_path_factory.mktemp("kept"))


def test_what_is_as_it_was(place: Place) -> None:
    found, findings = place.compare(extra=True)
    assert findings == []
    assert (found.files, found.size_bytes) == (6, sum(map(len, place.contents.values())))
    assert not found.differs
    assert place.read().files == 6


def test_every_byte_of_a_manifest_counts(place: Place) -> None:
    """Each one in turn, in a way that depends on where it is."""
    accepted = []
    for at in range(len(place.manifest)):
        changed = bytearray(place.manifest)
        changed[at] ^= 1 << (at % 8)
        place.file.write_bytes(changed)
        try:
            place.read(None if at % 2 else TRUSTED)
        except BadManifestError:
            continue
        accepted.append(at)
    assert accepted == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_other_bytes_are_no_manifest(kept: Place, tmp_path: Path, data: st.DataObject) -> None:
    whole = kept.manifest
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 200)))
    instead = data.draw(st.binary(max_size=200) | st.just(whole[start:end][::-1]))
    changed = whole[:start] + instead + whole[end:]
    other = tmp_path / "other"
    other.write_bytes(changed)
    if changed == whole:
        return
    for trusted in (TRUSTED, None):
        with pytest.raises(BadManifestError):
            Manifest(other, trusted)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_every_byte_of_a_file_counts(kept: Place, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([name for name, content in kept.contents.items() if content]))
    content = bytearray(kept.contents[name])
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path = kept.directory / name
    path.write_bytes(content)
    try:
        found, findings = kept.compare()
    finally:
        path.write_bytes(kept.contents[name])
    assert found.counts == {Kind.CHANGED: 1}
    assert [one.path for one in findings] == [os.fsencode(name)]


def test_missing_shorter_and_strange_files(place: Place) -> None:
    (place.directory / "a").unlink()
    (place.directory / "empty").write_bytes(b"1")
    (place.directory / "below" / "b").unlink()
    os.mkfifo(place.directory / "below" / "b")
    (place.directory / "large").write_bytes(place.contents["large"][:-1])
    (place.directory / "new").write_bytes(b"")
    (place.directory / "below" / "link").symlink_to("/nowhere")
    found, findings = place.compare(extra=True)
    assert {(one.kind, one.path) for one in findings} == {
        (Kind.MISSING, b"a"),
        (Kind.CHANGED, b"empty"),
        (Kind.CHANGED, b"below/b"),
        (Kind.CHANGED, b"large"),
        (Kind.EXTRA, b"new"),
        (Kind.EXTRA, b"below/link"),
    }
    assert found.differs


def test_what_was_not_compared_is_said(place: Place) -> None:
    place.file.write_bytes(written(entry("a", b"hello", None)))
    found, _ = place.compare()
    assert (found.unproved, found.differs) == (1, False)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: written(key=SigningKey.new()), "not one of yours"),
        (lambda: written(head=HEAD | {"task_id": "u"}), "another task_id"),
        (lambda: written(head=HEAD | {"towpath_manifest": 2}), "version"),
        (lambda: written()[:-1], "cut off"),
        (lambda: b"", "cut off"),
        (lambda: b"{}\n", "no signature"),
        (
            lambda: line(
                {
                    "signed": sign({"sha256": ""}, KEY, kind="grant"),
                    "key": TRUSTED.to_jwks()["keys"][0],
                }
            ),
            "another kind",
        ),
    ],
)
def test_what_is_no_manifest_of_ours(tmp_path: Path, make: Callable[[], bytes], says: str) -> None:
    file = tmp_path / "manifest"
    file.write_bytes(make())
    with pytest.raises(BadManifestError, match=says):
        Manifest(file, TRUSTED)


def test_a_manifest_that_its_own_key_signed_is_whose_it_says_only_if_one_believes_it(
    tmp_path: Path,
) -> None:
    file = tmp_path / "manifest"
    file.write_bytes(written(key=SigningKey.new()))
    assert Manifest(file, None).files == 0


@pytest.mark.parametrize("name", ["../x", "below/../../x", "below//../../x", "x\0"])
def test_no_path_leads_out_of_the_directory(place: Place, name: str) -> None:
    place.file.write_bytes(written(entry(name, b"hello")))
    with pytest.raises(BadManifestError, match="no path"):
        place.compare()


@pytest.mark.parametrize("name", ["below//b", "below/./b", "/below/b", "./below//b"])
def test_paths_that_servers_take_for_the_same_one_are(place: Place, name: str) -> None:
    place.file.write_bytes(written(entry(name, place.contents["below/b"])))
    found, findings = place.compare()
    assert (found.files, findings) == (1, [])


@pytest.mark.parametrize(
    "wrong",
    [{"size": 5.5}, {"size": -1}, {"destination_path": 1}, {"range_bytes": 0}, {"range_bytes": ""}],
)
def test_a_line_that_makes_no_sense_is_no_file(place: Place, wrong: dict[str, Any]) -> None:
    place.file.write_bytes(written(entry("a", b"hello", **wrong)))
    with pytest.raises(BadManifestError, match="is no file"):
        place.compare()


def test_a_changed_manifest_is_noticed_while_it_is_read(place: Place) -> None:
    manifest = place.read()
    changed = place.manifest.replace(b'"size":5', b'"size":6')
    place.file.write_bytes(changed)
    with pytest.raises(BadManifestError, match="while it was read"):
        list(manifest.entries())


def test_kind() -> None:
    assert KIND == "towpath-manifest", "it is in the documentation"
