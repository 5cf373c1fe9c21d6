"""What is shared, and what never is."""

from pathlib import Path

import pytest

from towpath.connect.choices import ChoiceError, Choices, Collection, Folder
from towpath.connect.configuration import KnownCollection
from towpath.connect.live_rules import LiveRules
from towpath.connect.mapping import Mapping
from towpath.connect.sharing import folder, rules_of
from towpath.dsi.posix import PosixStorage
from towpath.dsi.rules import Access, Rules
from towpath.dsi.storage import PathNotAllowedError


def access(folders: list[Folder], home: Path, path: str) -> str:
    """R, W, both, or nothing."""
    rules = Rules.of(rules_of(folders, home=home, own=home / ".local/share/towpath-connect"))
    found = rules.access(path.encode())
    return ("r" if Access.READ in found else "") + ("w" if Access.WRITE in found else "")


def test_a_home_is_shared_without_its_secrets() -> None:
    home = Path("/home/ana")
    shared = [Folder("/home/ana", "rw")]
    assert access(shared, home, "/home/ana/run-7/a") == "rw"
    for name in (".ssh/id_ed25519", ".gnupg", ".local/share/towpath-connect/token", ".netrc"):
        assert access(shared, home, f"/home/ana/{name}") == "", name
    assert access(shared, home, "/home/ben/a") == ""
    assert access(shared, home, "/etc/passwd") == ""
    assert access([], home, "/home/ana/run-7/a") == ""


def test_a_secret_is_shared_only_by_its_name_and_the_agents_own_never() -> None:
    home = Path("/home/ana")
    shared = [Folder("/home/ana", "rw"), Folder("/home/ana/.ssh", "r")]
    assert access(shared, home, "/home/ana/.ssh/config") == "r"
    shared = [Folder("/home/ana/.local/share/towpath-connect", "rw")]
    assert access(shared, home, "/home/ana/.local/share/towpath-connect/token") == ""


def test_a_deployment_and_another_services_agent_are_not_shared() -> None:
    home = Path("/home/ana")
    rules = Rules.of(rules_of([Folder("/home/ana", "rw")], home=home, own=home / "second-agent"))
    for secret in ("towpath/seal.key", "towpath-connect/token"):
        assert rules.access(f"/home/ana/.local/share/{secret}".encode()) is Access.NONE


def test_a_folder_is_where_its_links_lead(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    own = tmp_path / "agent"
    own.mkdir()
    shared = folder(tmp_path / "link", write=False, own=own)
    assert shared == Folder(str((tmp_path / "data").resolve()), "r")
    with pytest.raises(ChoiceError, match="cannot be shared"):
        folder(tmp_path / "none", write=False, own=own)
    with pytest.raises(ChoiceError, match="belongs to the agent"):
        folder(own, write=False, own=own)


def test_a_name_like_a_rule_is_a_name(tmp_path: Path) -> None:
    odd = tmp_path / "a,RW"
    odd.mkdir()
    shared = folder(odd, write=False, own=tmp_path / "agent")
    rules = Rules.of(rules_of([shared], home=tmp_path / "home", own=tmp_path / "agent"))
    assert Access.WRITE not in rules.access(f"{odd}/b".encode())
    assert Access.READ in rules.access(f"{odd}/b".encode())


def test_links_do_not_lead_out_of_what_is_shared(tmp_path: Path) -> None:
    home = tmp_path.resolve() / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "key").write_bytes(b"secret")
    (home / "a").write_bytes(b"a")
    (home / "away").symlink_to("/etc")
    (home / "mine").symlink_to(".ssh")
    rules = Rules.of(rules_of([Folder(str(home), "rw")], home=home, own=home / "agent"))
    storage = PosixStorage(Path("/"), rules=LiveRules(lambda: rules))
    for path in ("mine/key", "away/passwd", ".ssh/key"):
        with pytest.raises((PathNotAllowedError, FileNotFoundError)):
            storage.open_reader(f"{home}/{path}".encode())
    listed = {name for name, _ in storage.entries(str(home).encode())}
    assert listed == {b"a"}


def test_what_is_shared_changes_under_sessions(tmp_path: Path) -> None:
    place = tmp_path.resolve()
    (place / "a").write_bytes(b"a")
    current = [Rules.of([("RW", str(place))])]
    storage = PosixStorage(Path("/"), rules=LiveRules(lambda: current[0]))
    narrowed = storage.restricted(Rules.of([("R", "/")]))  # what a grant does
    path = f"{place}/a".encode()
    narrowed.open_reader(path).close()
    with pytest.raises(PathNotAllowedError):
        narrowed.open_writer(path, truncate=True)
    storage.open_writer(path, truncate=False).close()
    current[0] = Rules.of([("N", "/")])
    for one in (storage, narrowed):
        with pytest.raises(PathNotAllowedError):
            one.open_reader(path)


def test_choices_survive_the_disk() -> None:
    choices = (
        Choices(paused=True, limit_bytes_s=5)
        .sharing(Folder("/home/ana", "rw"))
        .with_collection(Collection("Lab", "/srv/lab", "r", ("ana",)))
        .with_mappings([Mapping(match="(.*)@example\\.org", output="{0}")])
    )
    assert Choices.from_document(choices.to_document()) == choices
    with pytest.raises(ChoiceError, match="neither r nor rw"):
        Choices.from_document({"folders": [{"path": "/a", "access": "x"}]})
    with pytest.raises(ChoiceError, match="is not shared by itself; what is: /home/ana"):
        choices.not_sharing("/home/ana/b")


def test_a_report_takes_nothing_from_other_nodes() -> None:
    known = [
        KnownCollection("1", "Lab", "/srv/lab", "rw"),
        KnownCollection("2", "Tape", "/tape", "r"),
    ]
    choices = Choices().with_collection(Collection("Lab", "/srv/lab2", "r", ("ana",)))
    report = choices.report("1", "dtn1", known=known)
    assert {one["name"]: one["base_path"] for one in report["collections"]} == {
        "Lab": "/srv/lab2",
        "Tape": "/tape",
    }
    assert report["mappings"] is None
    gone = choices.without_collection("Lab")
    assert [one["name"] for one in gone.report("1", "dtn1", known=known)["collections"]] == ["Tape"]
    mapped = choices.with_mappings([Mapping(match="(.*)", output="{0}")])
    (document,) = mapped.report("1", "dtn1")["mappings"]
    assert document["DATA_TYPE"] == "expression_identity_mapping#1.0.0"
    assert mapped.with_mappings([]).report("1", "dtn1")["mappings"] == []


@pytest.mark.parametrize(
    ("match", "output"), [("(", "a"), ("(.*)@example", "{1}"), ("a", "{0}"), ("", "a")]
)
def test_what_is_no_mapping(match: str, output: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Mapping(match=match, output=output)
