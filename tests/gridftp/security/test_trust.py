"""Trust roots: signing policies, revocation, what a directory may contain."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.demo.authority import Domain, Issued
from towpath.gridftp.security.certificates import Certificate, certificates_in
from towpath.gridftp.security.errors import SecurityError, SecurityKind
from towpath.gridftp.security.trust import SigningPolicy, TrustRoots, parse_signing_policy

GLOBUS = """
# comment
access_id_CA   X509   '/C=US/O=Globus/CN=Globus CA'
pos_rights     globus CA:sign
cond_subjects  globus '"/C=us/O=Globus/*"  "/C=US/O=Globus/*" "/O=Grid/Email=*"'

access_id_CA X509 "/O=Other CA"
pos_rights globus CA:sign
cond_subjects globus '/O=Other/CN=a b'
"""


def test_policy_with_several_patterns_and_authorities() -> None:
    first, second = parse_signing_policy(GLOBUS)
    assert first.authority == "/C=US/O=Globus/CN=Globus CA"
    assert first.subjects == ("/C=us/O=Globus/*", "/C=US/O=Globus/*", "/O=Grid/emailAddress=*")
    assert second == SigningPolicy("/O=Other CA", ("/O=Other/CN=a b",))
    assert first.allows("/C=US/O=Globus/CN=x")
    assert not first.allows("/C=US/O=Globus")
    assert not first.allows("/C=DE/O=Globus/CN=x")


@pytest.mark.parametrize(
    "text",
    [
        "access_id_CA X509 '/O=A'\ncond_subjects globus '\"*\"'",
        "access_id_CA X509 '/O=A'\npos_rights globus CA:revoke\ncond_subjects globus '\"*\"'",
        "access_id_CA X509 '/O=A'\nneg_rights globus CA:sign\ncond_subjects globus '\"*\"'",
        "access_id_ANYBODY globus x\npos_rights globus CA:sign\ncond_subjects globus '\"*\"'",
        "pos_rights globus CA:sign\ncond_subjects globus '\"*\"'",
    ],
)
def test_policy_grants_nothing_without_the_right_to_sign(text: str) -> None:
    assert parse_signing_policy(text) == []


def test_policy_right_ends_with_its_block() -> None:
    text = GLOBUS + "access_id_CA X509 '/O=C'\ncond_subjects globus '\"*\"'\n"
    assert [policy.authority for policy in parse_signing_policy(text)] == [
        "/C=US/O=Globus/CN=Globus CA",
        "/O=Other CA",
    ]


@pytest.mark.parametrize("text", ["nonsense", "access_id_CA X509", "grant all please"])
def test_policy_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="line 1"):
        parse_signing_policy(text)


@given(st.text(alphabet="ab*?/", max_size=12), st.text(alphabet="ab/", max_size=12))
def test_wildcards_agree_with_a_plain_definition(pattern: str, subject: str) -> None:
    def matches(pattern: str, subject: str) -> bool:
        if not pattern:
            return not subject
        if pattern[0] == "*":
            return matches(pattern[1:], subject) or (
                bool(subject) and matches(pattern, subject[1:])
            )
        return (
            bool(subject) and pattern[0] in ("?", subject[0]) and matches(pattern[1:], subject[1:])
        )

    assert SigningPolicy("", (pattern,)).allows(subject) is matches(pattern, subject)


def test_wildcards_do_not_blow_up() -> None:
    assert not SigningPolicy("", ("*a" * 200 + "b",)).allows("a" * 2000)


def chain_of(domain: Domain, issued: Issued) -> list[Certificate]:
    own = certificates_in(issued.certificate_file.read_text())
    return [Certificate(der) for der in (*own, domain.trust.authorities[0])]


def test_chain_within_the_policy(domain_a: Domain) -> None:
    domain_a.trust.check_chain(chain_of(domain_a, domain_a.host), datetime.now(UTC))


def test_name_outside_of_the_policy(tmp_path: Path) -> None:
    domain = Domain.create(tmp_path / "d", "DomC")
    stranger = domain.issue("stranger", "localhost", hosts=("localhost",), organization="DomX")
    with pytest.raises(SecurityError, match="does not let it sign /O=DomX/CN=localhost") as caught:
        domain.trust.check_chain(chain_of(domain, stranger), datetime.now(UTC))
    assert caught.value.kind is SecurityKind.UNTRUSTED_HOST


def test_missing_policy(domain_a: Domain) -> None:
    files = {name: text for name, text in domain_a.trust.files.items() if name.endswith(".0")}
    with pytest.raises(SecurityError, match="no signing policy is installed for /O=DomA/CN=DomA"):
        TrustRoots.from_files(files).check_chain(
            chain_of(domain_a, domain_a.host), datetime.now(UTC)
        )


def test_revoked_certificate_and_stale_list(tmp_path: Path) -> None:
    domain = Domain.create(tmp_path / "d", "DomC")
    other = domain.issue("other", "localhost", hosts=("localhost",))
    domain.revoke(other)
    now = datetime.now(UTC)
    trust = domain.trust
    trust.check_chain(chain_of(domain, domain.host), now)
    with pytest.raises(SecurityError, match="has been revoked"):
        trust.check_chain(chain_of(domain, other), now)
    with pytest.raises(SecurityError, match="out of date"):
        trust.check_chain(chain_of(domain, domain.host), now + timedelta(days=31))


def test_directory_leaves_out_what_makes_no_sense(domain_a: Domain, tmp_path: Path) -> None:
    for name, text in domain_a.trust.files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "00000000.0").write_text("not a certificate")
    (tmp_path / "11111111.signing_policy").write_text("nonsense")
    (tmp_path / "22222222.r0").write_text("nonsense")
    (tmp_path / "33333333.0").symlink_to("nowhere")
    (tmp_path / "README").write_text("left alone")
    trust = TrustRoots.from_directory(tmp_path)
    assert dict(trust.files) == dict(domain_a.trust.files)
    assert trust.skipped == (
        "00000000.0",
        "11111111.signing_policy",
        "22222222.r0",
        "33333333.0",
    )
    assert trust.contents == domain_a.trust.contents


def test_bad_file_from_memory_is_named(domain_a: Domain) -> None:
    with pytest.raises(ValueError, match=r"00000000\.0"):
        TrustRoots.from_files({**domain_a.trust.files, "00000000.0": "x"})


def test_no_authority_at_all(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no trusted authority"):
        TrustRoots.from_directory(tmp_path)
    with pytest.raises(ValueError, match="no trusted authority"):
        TrustRoots.from_files({"README": "x"})
