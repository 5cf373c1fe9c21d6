"""The web interface as it is served: what browsers may do with it, and what they keep."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from towpath.gui.app import Built, create_app

CLIENT = UUID("5b1ef24e-5f5d-4f0f-9d1a-7c2f7c9c2b11")
INDEX = (
    '<meta name="towpath-service" content="@SERVICE@">'
    '<meta name="towpath-client" content="@CLIENT@">'
    '<meta property="csp-nonce" nonce="@NONCE@"><title>@SERVICE@</title>'
    '<script type="module" src="/app/index-abc.js"></script>'
)
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " style-src 'self' 'nonce-{}'; font-src 'self'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'"
)


@pytest.fixture
def built(tmp_path: Path) -> Built:
    """What a build leaves."""
    assets = tmp_path / "app"
    assets.mkdir()
    (tmp_path / "index.html").write_text(INDEX)
    for name, content in {
        "index-abc.js": b"plain",
        "index-abc.js.br": b"brotli",
        "index-abc.js.gz": b"gzip",
        "small-def.css": b"a{}",
    }.items():
        (assets / name).write_bytes(content)
    found = Built.read(tmp_path)
    assert found is not None
    return found


@asynccontextmanager
async def serving(built: Built | None, name: str = "Towpath") -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(service_name=name, client_id=CLIENT, built=built)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="https://towpath.example") as http:
        http.headers.pop("Accept-Encoding")
        yield http


@pytest.fixture
async def http(built: Built) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(built) as client:
        yield client


async def test_a_page_may_run_our_scripts_and_nothing_else(http: httpx.AsyncClient) -> None:
    nonces = set()
    for _ in range(2):
        answer = await http.get("/files", headers=BROWSER)
        nonce = re.search(r'nonce="([^"]+)"', answer.text)
        assert nonce is not None
        assert len(nonce[1]) >= 22, "128 bits"
        assert answer.headers["Content-Security-Policy"] == POLICY.format(nonce[1])
        nonces.add(nonce[1])
    assert len(nonces) == 2
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "<script>" not in answer.text
    assert str(CLIENT) in answer.text


@pytest.mark.parametrize(
    "path", ["/", "/files", "/files/", "/activity/8e1f", "/endpoints/new", "/login/callback?code=x"]
)
async def test_addresses_of_pages_are_the_page(http: httpx.AsyncClient, path: str) -> None:
    for headers in (BROWSER, {}):
        answer = await http.get(path, headers=headers)
        assert (answer.status_code, answer.headers["Content-Type"]) == (
            200,
            "text/html; charset=utf-8",
        )


async def test_what_is_no_page_is_404_for_people_and_programs(http: httpx.AsyncClient) -> None:
    for path in ("/nowhere", "/filesystem", "/v0.10/nowhere", "/app/", "/login"):
        page = await http.get(path, headers=BROWSER)
        assert (page.status_code, "towpath-client" in page.text) == (404, True), path
        program = await http.get(path, headers={"Accept": "application/json"})
        assert program.status_code == 404
        assert program.json()["code"] == "NotFound" or "no route" in program.text, program.text
    missing = await http.get("/app/index-old.js", headers=BROWSER)
    assert (missing.status_code, missing.headers["Content-Type"]) == (404, "application/json")


async def test_assets_never_change(http: httpx.AsyncClient) -> None:
    answer = await http.get("/app/index-abc.js")
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Type"].startswith("text/javascript")
    assert (await http.get("/app/small-def.css")).headers["Content-Type"].startswith("text/css")
    for path in ("/app/..%2findex.html", "/app/%2e%2e/index.html", "/app/index-abc.js.br"):
        assert (await http.get(path)).status_code == 404, path


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip", "gzip"),
        ("br;q=0, gzip", "gzip"),
        ("br;q=0.000,gzip;q=0", None),
        ("GZIP ; Q=0.5", "gzip"),
        ("br;q=0.001", "br"),
        ("identity", None),
        ("", None),
        (";;,,;q=", None),
    ],
)
async def test_what_was_compressed_is_sent_to_who_wants_it(
    http: httpx.AsyncClient, accepted: str, encoding: str | None
) -> None:
    request = http.build_request("GET", "/app/index-abc.js", headers={"Accept-Encoding": accepted})
    answer = await http.send(request, stream=True)
    raw = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert answer.headers.get("Content-Encoding") == encoding
    assert raw == {"br": b"brotli", "gzip": b"gzip", None: b"plain"}[encoding]
    assert answer.headers["Vary"] == "Accept-Encoding"


async def test_head_is_get_without_the_body(http: httpx.AsyncClient) -> None:
    for path in ("/", "/files", "/app/index-abc.js", "/nowhere"):
        get, head = await http.get(path), await http.head(path)
        assert head.status_code == get.status_code
        for name in ("Content-Type", "Cache-Control"):
            assert head.headers.get(name) == get.headers.get(name)
    assert (await http.post("/files")).status_code == 405


async def test_the_services_name_is_text(built: Built) -> None:
    async with serving(built, '"><script>alert(1)</script>&') as http:
        text = (await http.get("/")).text
    assert "<script>alert" not in text
    assert "<title>&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;</title>" in text


async def test_a_name_that_looks_like_a_mark(built: Built) -> None:
    async with serving(built, "@NONCE@") as http:
        text = (await http.get("/")).text
    assert "<title>@NONCE@</title>" in text


async def test_an_installation_without_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Built.read(tmp_path) is None
    monkeypatch.setattr(Built, "read", classmethod(lambda *_: None))
    async with serving(None) as http:
        answer = await http.get("/files", headers=BROWSER)
        assert answer.status_code == 503
        assert "make setup" in answer.text
        assert (await http.get("/app/index-abc.js")).status_code == 404
