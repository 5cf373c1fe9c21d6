"""After everything a deployment does, its secrets are nowhere that someone could read them (I6).

The log level is `debug`. What is looked for is real: the proxies' keys, the clients' secrets, the
token in use; and the marks of what we never see, keys and data channel credentials.
"""

import base64
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from plugins.peers import gsi_server, serving
from plugins.site import SITE_GROUP, Site, until
from towpath.demo.authority import Domain
from towpath.demo.trees import digests, make_tree, uniform

pytestmark = SITE_GROUP
KEY_MARK = "PRIVATE KEY-----"
PEM_MARK_BASE64 = base64.b64encode(b"-----BEGIN").decode()[:13]
"""How a data channel credential begins, as DCSC sends it."""


def body_lines(domain: Domain) -> list[str]:
    """The base64 of a proxy, keys and certificates; whole lines, but for what is public anyway."""
    public = "".join(domain.trust.files.values())
    lines = domain.proxy_file.read_text().splitlines()
    return [line for line in lines if len(line) == 64 and line not in public]


def secrets(site: Site) -> dict[str, list[str]]:
    """What nobody may find, by what it is."""
    folder = site.rig.data_dir / "secrets"
    clients = [
        json.loads((folder / name).read_text())
        for name in ("operator.json", "transfer.json", "relay.json")
    ]
    seal = (folder / "seal.key").read_bytes()
    token = site.deployment.client.headers["Authorization"].removeprefix("Bearer ")
    return {
        "proxy": [line for domain in site.rig.domains for line in body_lines(domain)],
        "client secret": [client["client_secret"] for client in clients],
        "bearer token": [token],
        "seal key": [seal.hex(), base64.b64encode(seal).decode().rstrip("=")],
        "private key": [KEY_MARK],
        "data channel credential": [PEM_MARK_BASE64],
    }


def token_hash(site: Site) -> str:
    """As the database has it."""
    token = site.deployment.client.headers["Authorization"].removeprefix("Bearer ")
    return hashlib.sha256(token.encode()).hexdigest()


def assert_none(found_in: Mapping[str, str | bytes], wanted: Mapping[str, list[str]]) -> None:
    """None of the secrets, plain, in hexadecimal or in base64, is in any of these texts."""
    needles = {
        form
        for what in wanted.values()
        for secret in what
        for form in (secret, secret.encode().hex(), base64.b64encode(secret.encode()).decode()[:-4])
    }
    assert all(len(needle) > 8 for needle in needles)
    for place, text in found_in.items():
        data = text if isinstance(text, bytes) else text.encode(errors="surrogateescape")
        for needle in needles:
            at = data.find(needle.encode())
            assert at < 0, f"{place}: ...{data[max(at - 60, 0) : at + 20]!r}"


def table_texts(site: Site) -> Iterator[tuple[str, str]]:
    """Every table of every service, each row as PostgreSQL writes it."""
    url = json.loads((site.rig.data_dir / "run" / "state.json").read_text())["database_url"]
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('nexus', 'transfer')"
        ).fetchall()
        for schema, table in tables:
            rows = connection.execute(
                sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(schema, table))
            )
            yield f"{schema}.{table}", "\n".join(row[0] for row in rows)


@pytest.fixture(scope="module")
def answers(site: Site, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the service answered while it was used well and badly."""
    root = tmp_path_factory.mktemp("secrets")
    make_tree(root / "src", uniform(2, 10, 1000), seed=8)
    domain = site.rig.domains[0]
    proxy = domain.proxy_file.read_text()
    client = site.deployment.client
    here, there = site.endpoints
    told: dict[str, str] = {}
    task_id = site.copy(root / "src", root / "dst", encrypt_data=True)
    assert site.deployment.wait(task_id, 60)["status"] == "SUCCEEDED"
    assert digests(root / "dst") == digests(root / "src")
    # A server that repeats what it does not understand, the data channel's credential included.
    echo = {"DCSC": "500 'DCSC {argument}' unrecognized command."}
    with serving(gsi_server(domain, echo)) as peer:
        echoing = site.register(peer.url, domain)
        echoed = site.deployment.transfer(
            here, echoing, [(str(root / "src"), "/dst", True)], verify_checksum=False
        )
        until(lambda: site.deployment.task(echoed)["faults"], 20, "DCSC is refused")
        assert any(PEM_MARK_BASE64 in command for command in peer.commands)
        told["echoed events"] = client.get(f"/v0.10/task/{echoed}/event_list").text
        told["echoed task"] = client.get(f"/v0.10/task/{echoed}").text
        assert "DCSC was refused" in told["echoed events"]
        site.deployment.post(f"task/{echoed}/cancel", {})
        site.deployment.wait(echoed, 30)
    broken = proxy.replace("-----BEGIN CERT", "-----BEGIN KERT")
    for name, document in {
        "key of another": proxy.replace(KEY_MARK, "RSA " + KEY_MARK),
        "no certificate": broken,
        "list": [proxy],
        "object": {"pem": proxy},
    }.items():
        path = f"/v0.10/endpoint/{here}/credential"
        told[f"refused: {name}"] = client.put(path, json={"proxy": document}).text
    told["refused: no JSON"] = client.put(
        f"/v0.10/endpoint/{here}/credential", content=f'{{"proxy": "{proxy}'
    ).text
    operator = json.loads((site.rig.data_dir / "secrets" / "operator.json").read_text())
    wrong = client.post(
        "/v2/oauth2/token",
        data={"grant_type": operator["client_secret"], "scope": operator["client_secret"]},
        auth=(operator["client_id"], operator["client_secret"]),
    )
    assert wrong.status_code == 400
    token = client.headers["Authorization"].removeprefix("Bearer ")
    told["bad scheme"] = client.get(
        "/v0.10/task_list", headers={"Authorization": f"Basic {token}"}
    ).text
    for route in (
        f"task/{task_id}",
        f"task/{task_id}/event_list",
        f"task/{task_id}/successful_transfers",
        "task_list",
        f"endpoint/{here}",
        f"endpoint/{there}",
        "endpoint_search?filter_scope=my-endpoints",
    ):
        told[route] = client.get(f"/v0.10/{route}").text
    return told


def test_no_secret_in_an_answer(site: Site, answers: dict[str, str]) -> None:
    wanted = secrets(site) | {"token hash": [token_hash(site)]}
    assert_none(answers, wanted)


def test_no_secret_in_a_log_or_on_the_terminal(site: Site, answers: dict[str, str]) -> None:
    texts: dict[str, str | bytes] = {str(file): text for file, text in site.logs().items()}
    assert any("worker-" in name for name in texts)
    assert any(name.endswith("up.log") for name in texts)
    stdout = site.deployment._process.stdout
    assert stdout is not None
    os.set_blocking(stdout.fileno(), False)
    try:
        texts["stdout"] = os.read(stdout.fileno(), 1 << 20)
    except BlockingIOError:
        texts["stdout"] = b""  # nothing after `ready`, which `Deployment` has read
    assert_none(texts, secrets(site) | {"token hash": [token_hash(site)]})
    site.assert_well()


def test_no_secret_in_clear_in_the_database(site: Site, answers: dict[str, str]) -> None:
    tables = dict(table_texts(site))
    assert token_hash(site) in tables["nexus.token"], "the search sees what is there"
    assert "/O=DomA/CN=Alice" in tables["transfer.credential"]
    wanted = secrets(site)
    assert_none(tables, wanted)
    files = [*(site.rig.data_dir / "postgres").rglob("*")]
    raw: dict[str, str | bytes] = {str(file): file.read_bytes() for file in files if _is_data(file)}
    assert sum(len(data) for data in raw.values()) > 10_000_000, "tables and write-ahead log"
    assert any(b"/O=DomA/CN=Alice" in data for data in raw.values())
    assert_none(raw, {what: found[::5] for what, found in wanted.items()})  # 60 MB: some will do


def test_secret_files_are_their_owners(site: Site, answers: dict[str, str]) -> None:
    for folder in ("secrets", "tls", "log", "run"):
        path = site.rig.data_dir / folder
        assert path.stat().st_mode & 0o077 == 0
        for file in path.iterdir():
            assert file.stat().st_mode & 0o077 == 0, file


def _is_data(file: Path) -> bool:
    parts = file.parts
    return file.is_file() and ("base" in parts or "pg_wal" in parts or "global" in parts)
