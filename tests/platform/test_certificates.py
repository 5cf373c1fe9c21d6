"""The deployment's CA: strict clients accept it; it renews."""

import asyncio
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from towpath.platform.certificates import CertificateError, server_certificate
from towpath.platform.errors import TRANSFER_ERRORS
from towpath.platform.http import new_app
from towpath.platform.serving import HttpsServer, bind


async def _handshake(port: int, authority: Path, name: str) -> None:
    context = ssl.create_default_context(cafile=str(authority))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    writer.close()
    await writer.wait_closed()


async def test_strict_clients_accept_every_name(tmp_path: Path) -> None:
    files = server_certificate(tmp_path, ["host.example"])
    bound = bind("127.0.0.1", 0)
    server = HttpsServer(new_app("t", TRANSFER_ERRORS), bound, cert=files.cert, key=files.key)
    await server.start()
    try:
        for name in ("localhost", "127.0.0.1", "host.example"):
            await _handshake(server.port, files.authority, name)
        with pytest.raises(ssl.SSLCertVerificationError):
            await _handshake(server.port, files.authority, "other.example")
    finally:
        await server.stop()
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600


def test_made_again_only_when_needed(tmp_path: Path) -> None:
    first = server_certificate(tmp_path, ["a"]).cert.read_bytes()
    authority = (tmp_path / "ca.pem").read_bytes()
    assert server_certificate(tmp_path, ["a"]).cert.read_bytes() == first
    second = server_certificate(tmp_path, ["b"]).cert.read_bytes()
    assert second != first
    late = datetime.now(UTC) + timedelta(days=380)
    assert server_certificate(tmp_path, ["b"], now=late).cert.read_bytes() != second
    assert (tmp_path / "ca.pem").read_bytes() == authority, "clients need not trust anew"
    # a crash between writing key and certificate
    server_certificate(tmp_path / "other", ["b"])
    (tmp_path / "server.key").write_bytes((tmp_path / "other" / "server.key").read_bytes())
    changed = server_certificate(tmp_path, ["b"], now=late).cert.read_bytes()
    server_certificate(tmp_path, ["b"], now=late)
    assert (tmp_path / "server.pem").read_bytes() == changed


def test_nonsense_in_the_directory_is_explained(tmp_path: Path) -> None:
    server_certificate(tmp_path, ["a"])
    (tmp_path / "ca.pem").write_text("nonsense")
    with pytest.raises(CertificateError, match="remove them"):
        server_certificate(tmp_path, ["a"])
