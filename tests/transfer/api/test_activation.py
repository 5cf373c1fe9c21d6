"""Activation as old clients do it: MyProxy, and proxies that the client signs for our key."""

import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from plugins.myproxy import PASSWORDS, MyProxyServer
from plugins.transfer_api import Api, assert_error
from towpath.demo.authority import Domain
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.proxies import sign_proxy_request
from towpath.platform.database import Database

FAILED = "ClientError.ActivationFailed"

# RFC 3820, 3.8: everything is inherited
_PROXY = """
[proxy]
keyUsage = critical, digitalSignature, keyEncipherment
1.3.6.1.5.5.7.1.14 = critical, ASN1:SEQUENCE:information
[information]
policy = SEQUENCE:policy
[policy]
language = OID:1.3.6.1.5.5.7.21.1
"""


@pytest.fixture
async def fresh(alice: Api, lake: str) -> str:
    """Her endpoint, without her credential."""
    assert (await alice.post(f"endpoint/{lake}/deactivate")).json()["code"] == "Deactivated"
    return lake


async def requirements(who: Api, endpoint: str, **query: str) -> dict[tuple[str, str], Any]:
    answer = await who.get(f"endpoint/{endpoint}/activation_requirements", **query)
    assert answer.status_code == 200, answer.text
    return {(one["type"], one["name"]): one["value"] for one in answer.json()["DATA"]}


def filled(kind: str, **values: str) -> dict[str, Any]:
    return {
        "DATA_TYPE": "activation_requirements",
        "DATA": [
            {"DATA_TYPE": "activation_requirement", "type": kind, "name": name, "value": value}
            for name, value in values.items()
        ],
    }


def openssl(*words: object) -> str:
    done = subprocess.run(
        [str(shutil.which("openssl")), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout


def signed_by_openssl(public_key: str, request: str, proxy: Path, place: Path) -> str:
    """What a client makes that has a proxy of grid-proxy-init and OpenSSL; the chain."""
    (place / "key.pem").write_text(public_key)
    (place / "request.pem").write_text(request)
    (place / "proxy.cnf").write_text(_PROXY)
    one_line = openssl("x509", "-in", proxy, "-noout", "-subject", "-nameopt", "compat")
    subject = one_line.strip().removeprefix("subject=").strip()
    made = openssl(
        *("x509", "-req", "-in", place / "request.pem", "-force_pubkey", place / "key.pem"),
        *("-CA", proxy, "-CAkey", proxy, "-set_serial", "4711", "-days", "1", "-sha256"),
        *("-subj", f"{subject}/CN=4711", "-extfile", place / "proxy.cnf", "-extensions", "proxy"),
    )
    certificates = re.findall(
        "-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", proxy.read_text(), re.DOTALL
    )
    return made + "".join(certificates)


def grid_proxy_init(domain: Domain, place: Path) -> Path:
    """The real program's proxy of the domain's user."""
    user = domain.user.credential()
    (place / "usercert.pem").write_bytes(user.chain_pem)
    (place / "userkey.pem").write_bytes(user.key_pem)
    (place / "userkey.pem").chmod(0o400)
    proxy = place / "proxy.pem"
    subprocess.run(
        [
            *(str(shutil.which("grid-proxy-init")), "-q", "-valid", "6:00"),
            *("-cert", str(place / "usercert.pem"), "-key", str(place / "userkey.pem")),
            *("-out", str(proxy)),
        ],
        capture_output=True,
        timeout=30,
        check=True,
        env={"X509_CERT_DIR": str(domain.trust_dir), "PATH": "/usr/bin:/bin"},
    )
    return proxy


async def test_a_proxy_signed_with_openssl_opens_a_real_server(
    alice: Api, fresh: str, domain_a: Domain, tmp_path: Path
) -> None:
    proxy = grid_proxy_init(domain_a, tmp_path)
    wanted = await requirements(alice, fresh, type="delegate_proxy")
    chain = signed_by_openssl(
        wanted["delegate_proxy", "public_key"],
        wanted["delegate_proxy", "certificate_request"],
        proxy,
        tmp_path,
    )
    activated = await alice.post(
        f"endpoint/{fresh}/activate", filled("delegate_proxy", proxy_chain=chain)
    )
    document = activated.json()
    assert document["code"] == "Activated.ClientProxyCredential", activated.text
    shown = (await alice.get(f"endpoint/{fresh}")).json()
    assert (shown["activated"], shown["expire_time"]) == (True, document["expire_time"])
    assert (document["activated"], document["subject"]) == (True, domain_a.credential.subject)
    assert 5 * 3600 < document["expires_in"] <= 6 * 3600
    listed = await alice.get(f"operation/endpoint/{fresh}/ls", path=str(tmp_path))
    assert listed.status_code == 200, listed.text
    again = await alice.post(
        f"endpoint/{fresh}/activate", filled("delegate_proxy", proxy_chain=chain)
    )
    assert "no key of yours" in assert_error(again, 400, FAILED)
    # enough is left: nothing is asked for
    enough = await alice.post(f"endpoint/{fresh}/activate?if_expires_in=3600", filled("myproxy"))
    assert enough.json()["code"] == "AlreadyActivated"


async def test_bad_chains_are_refused(
    alice: Api, bob: Api, fresh: str, domain_a: Domain, domain_b: Domain, database: Database
) -> None:
    def signed(request: str, by: Credential, ends: datetime) -> str:
        der = x509.load_pem_x509_csr(request.encode()).public_bytes(Encoding.DER)
        made = sign_proxy_request(by, der, timedelta(seconds=1), ends - timedelta(seconds=1))
        return x509.load_der_x509_certificate(made).public_bytes(Encoding.PEM).decode()

    now = datetime.now(UTC)
    wanted = await requirements(alice, fresh, type="delegate_proxy")
    request = wanted["delegate_proxy", "certificate_request"]
    mine = signed(request, domain_a.credential, now + timedelta(hours=1))
    others = (await requirements(bob, fresh, type="delegate_proxy"))["delegate_proxy", "public_key"]
    assert others != wanted["delegate_proxy", "public_key"]
    own_chain = domain_a.credential.chain_pem.decode()
    old = signed(request, domain_a.credential, now - timedelta(seconds=10))
    for chain, why in (
        ("", "no certificate"),
        (mine, "only proxy certificates"),
        (mine + domain_b.credential.chain_pem.decode(), "not signed by the second"),
        (own_chain, "does not belong"),
        (mine + own_chain + domain_a.credential.key_pem.decode(), "private key"),
        (old + own_chain, "expired"),
    ):
        answer = await alice.post(
            f"endpoint/{fresh}/activate", filled("delegate_proxy", proxy_chain=chain)
        )
        assert why in assert_error(answer, 400, FAILED), why
    async with database.transaction() as conn:
        await conn.execute("UPDATE delegation SET made_at = made_at - interval '61 minutes'")
    late = filled("delegate_proxy", proxy_chain=mine + own_chain)
    answer = await alice.post(f"endpoint/{fresh}/activate", late)
    assert "too old" in assert_error(answer, 400, FAILED)
    assert (await alice.get(f"endpoint/{fresh}/credential")).json()["state"] == "none"


async def test_myproxy_and_what_autoactivation_says(
    alice: Api, bob: Api, fresh: str, myproxy_authority: MyProxyServer
) -> None:
    route = f"endpoint/{fresh}"
    nothing = (await alice.post(f"{route}/autoactivate")).json()
    assert (nothing["code"], nothing["activated"]) == ("AutoActivationFailed", False)
    assert {one["type"] for one in nothing["DATA"]} == {"myproxy"}
    values = {
        "hostname": myproxy_authority.address,
        "username": "alice",
        "passphrase": PASSWORDS["alice"],
        "lifetime_in_hours": "3",
    }
    missing = filled("myproxy", **{**values, "username": ""})
    assert "username" in assert_error(await alice.post(f"{route}/activate", missing), 400, FAILED)
    odd = filled("myproxy", **{**values, "lifetime_in_hours": "long"})
    assert_error(await alice.post(f"{route}/activate", odd), 400, FAILED)
    wrong = await alice.post(
        f"{route}/activate", filled("myproxy", **{**values, "passphrase": "correct house"})
    )
    assert wrong.status_code == 502
    assert "correct house" not in wrong.text
    done = (await alice.post(f"{route}/activate", filled("myproxy", **values))).json()
    assert done["code"] == "Activated.MyProxyCredential"
    assert 2 * 3600 < done["expires_in"] <= 3 * 3600
    shown = (await alice.get(f"{route}/activation_requirements")).json()
    assert (shown["activated"], shown["expire_time"]) == (True, done["expire_time"])
    codes = [
        (await alice.post(f"{route}/autoactivate{query}")).json()["code"]
        for query in ("", "?if_expires_in=60", "?if_expires_in=99999")
    ]
    assert codes == [
        "AutoActivated.CachedCredential",
        "AlreadyActivated",
        "AutoActivated.CachedCredential",
    ]
    assert not (await bob.get(f"{route}/activation_requirements")).json()["activated"]


async def test_where_no_credential_is_needed(alice: Api) -> None:
    made = await alice.post("endpoint", {"display_name": "mine", "is_globus_connect": True})
    route = f"endpoint/{made.json()['id']}"
    shown = (await alice.get(f"{route}/activation_requirements", type="delegate_proxy")).json()
    assert (shown["activated"], shown["expires_in"], shown["DATA"]) == (True, -1, [])
    answer = (await alice.post(f"{route}/autoactivate")).json()
    assert answer["code"] == "AutoActivated.GlobusOnlineCredential"
    again = (await alice.post(f"{route}/autoactivate?if_expires_in=60")).json()
    assert again["code"] == "AlreadyActivated"
