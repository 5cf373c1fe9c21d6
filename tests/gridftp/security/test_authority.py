"""A small authority of one's own, as OpenSSL and our own checks see it."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from towpath.gridftp.security.authority import Authority, as_trust_files
from towpath.gridftp.security.certificates import Certificate, certificates_in
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.errors import SecurityError
from towpath.gridftp.security.names import speaks_for
from towpath.gridftp.security.trust import TrustRoots

NOW = datetime.now(UTC).replace(microsecond=0)
YEAR, DAY = timedelta(days=365), timedelta(days=1)


@pytest.fixture
def authority() -> Authority:
    return Authority.create("Lab of all", NOW, YEAR)


def chain(credential: Credential, authority: Authority) -> list[Certificate]:
    own = certificates_in(credential.chain_pem.decode())
    [root] = [text for name, text in authority.trust_files.items() if name.endswith(".0")]
    return [Certificate(der) for der in (*own, *certificates_in(root))]


def test_what_it_signs_is_trusted_by_those_who_trust_it(authority: Authority) -> None:
    trust = TrustRoots.from_files(authority.trust_files)
    user = authority.issue("Alice", NOW, DAY)
    assert user.subject == "/O=Lab of all/CN=Alice"
    assert user.not_after == NOW + DAY
    trust.check_chain(chain(user, authority), NOW)


def test_it_signs_for_no_other_organization(authority: Authority) -> None:
    trust = TrustRoots.from_files(authority.trust_files)
    with pytest.raises(SecurityError, match=r"signing policy|may not sign"):
        trust.check_chain(
            chain(authority.issue("Alice", NOW, DAY, organization="Another lab"), authority), NOW
        )


def test_a_host_has_all_its_names(authority: Authority) -> None:
    host = authority.issue("ftp", NOW, DAY, hosts=("ftp.example.org", "192.0.2.7", "2001:db8::7"))
    [certificate] = [Certificate(der) for der in certificates_in(host.chain_pem.decode())]
    for name in ("ftp.example.org", "192.0.2.7", "2001:db8::7"):
        assert speaks_for(certificate, name)
    assert not speaks_for(certificate, "other.example.org")


def test_it_can_be_kept(authority: Authority) -> None:
    again = Authority.load(authority.to_pem())
    assert again.trust_files == authority.trust_files
    trust = TrustRoots.from_files(authority.trust_files)
    trust.check_chain(chain(again.issue("Bob", NOW, DAY), authority), NOW)


def test_nothing_outlives_it(authority: Authority) -> None:
    assert authority.issue("Alice", NOW, 10 * YEAR).not_after == authority.not_after


def test_what_is_no_authority_is_not_loaded(authority: Authority) -> None:
    with pytest.raises(ValueError, match="no certificate"):
        Authority.load(b"")


@pytest.mark.parametrize(
    "organization",
    [
        "Lab of all",
        "LAB",
        "  odd   blanks  ",
        "Příliš Žluťoučký",
        "ÅÄÖ",
        'quotes " + / ,',
    ],
)
def test_its_files_are_named_as_openssl_looks_for_them(organization: str, tmp_path: Path) -> None:
    authority = Authority.create(organization, NOW, YEAR)
    [name] = [name for name in authority.trust_files if name.endswith(".0")]
    file = tmp_path / "authority.pem"
    file.write_text(authority.trust_files[name])
    told = subprocess.run(
        ["openssl", "x509", "-in", file, "-noout", "-subject_hash"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert name == f"{told.stdout.strip()}.0"


def root(organization: str) -> str:
    """The certificate of a new authority."""
    return next(iter(Authority.create(organization, NOW, DAY).trust_files.values()))


def test_certificates_as_trust_files() -> None:
    lake, hill = Authority.create("Lake", NOW, YEAR), Authority.create("Hill", NOW, YEAR)
    pems = [next(iter(one.trust_files.values())) for one in (lake, hill)]
    files = as_trust_files(["".join(pems), pems[0]])
    assert files.keys() == lake.trust_files.keys() | hill.trust_files.keys(), "each once"
    foreign = lake.issue("host", NOW, DAY, hosts=["localhost"], organization="Elsewhere")
    TrustRoots.from_files(files).check_chain(chain(foreign, lake), NOW)  # any name


def test_authorities_of_one_hash_are_all_kept() -> None:
    pems = [root("Lake") for _ in range(10)]
    files = as_trust_files(pems)
    assert {text for name, text in files.items() if name[-2] == "."} == set(pems)
    with pytest.raises(ValueError, match="certificate 11: there are ten"):
        as_trust_files([*pems, root("Lake")])
    with pytest.raises(ValueError, match="certificate 2"):
        as_trust_files([pems[0], "no certificate"])
