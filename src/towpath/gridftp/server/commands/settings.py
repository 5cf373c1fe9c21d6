"""Settings of a session and of its data channel (spec: RFC 959, 2228, 2389, 2428; GFD.20)."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Final

from towpath.gridftp.data.protection import Protection
from towpath.gridftp.errors import GridFTPError, Kind, printable
from towpath.gridftp.server.channel import SELF, Mode
from towpath.gridftp.server.commands.base import Handlers, Session
from towpath.gridftp.server.commands.checksums import demand_known
from towpath.gridftp.wire import answers, requests
from towpath.gridftp.wire.addresses import HostPort

handlers: Final = Handlers()
on = handlers.on


@on(requests.Type)
def _type(session: Session, request: requests.Type) -> None:
    # Files are sent as they are, whatever is said here: no client of today wants them changed.
    session.send(answers.reply(200, f"Type set to {request.letter}."))


@on(requests.Stru)
def _stru(session: Session, _request: requests.Stru) -> None:
    session.send(answers.reply(200, "STRU F ok."))


@on(requests.Mode)
def _mode(session: Session, request: requests.Mode) -> None:
    session.extended = request.letter == "E"
    session.channel.set_mode(Mode.EXTENDED if session.extended else Mode.STREAM)
    session.send(answers.reply(200, f"Mode set to {request.letter}."))


@on(requests.Pbsz)
def _pbsz(session: Session, request: requests.Pbsz) -> None:
    session.send(answers.reply(200, f"PBSZ={request.size_bytes}"))


@on(requests.Prot)
def _prot(session: Session, request: requests.Prot) -> None:
    session.channel.set_protection(Protection(request.letter))
    session.protection = request.letter
    session.send(answers.reply(200, f"Protection level set to {request.letter}."))


@on(requests.Dcau)
def _dcau(session: Session, request: requests.Dcau) -> None:
    match request.letter:
        case "N":
            session.channel.set_authentication(None)
        case "A":
            session.channel.set_authentication(SELF)
        case _:
            session.channel.set_authentication(request.subject)
    session.authenticated = request.letter != "N"
    session.send(answers.reply(200, f"DCAU {request.letter}."))


@on(requests.Dcsc)
def _dcsc(session: Session, request: requests.Dcsc) -> None:
    if request.kind == "D":
        session.use_login_credential()
        session.send(answers.reply(250, "OK."))
        return
    try:
        pem = parse_blob(request.blob)
    except ValueError:
        said = "Invalid base64 input for credential type P."
        raise requests.RequestError(500, said) from None
    try:
        session.channel.set_credential(pem)
    except ValueError as error:
        said = f"Credential import failed. : {printable(str(error), 200)}"
        raise requests.RequestError(500, said) from None
    session.send(answers.reply(250, "OK."))


def parse_blob(blob: bytes) -> bytes:
    """Base64, with or without its padding. Raises ValueError."""
    return base64.b64decode(blob + b"=" * (-len(blob) % 4), validate=True)


@on(requests.Sbuf)
def _sbuf(session: Session, request: requests.Sbuf) -> None:
    # The kernel finds the best size by itself; a fixed one only gets in its way.
    session.send(
        answers.reply(
            200, "Site Command Successful." if request.site else "SBUF Command Successful."
        )
    )


@on(requests.Allo)
def _allo(session: Session, _request: requests.Allo) -> None:
    session.send(answers.reply(200, "ALLO command successful."))


@on(requests.Trev)
def _trev(session: Session, request: requests.Trev) -> None:
    markers = session.channel.markers
    if request.event == "PERF":
        session.channel.markers = replace(markers, performance_s=request.interval_s)
    else:
        session.channel.markers = replace(markers, restart_s=request.interval_s)
    session.send(answers.reply(200, "Command Successful."))


@on(requests.Rest)
def _rest(session: Session, request: requests.Rest) -> None:
    session.next.present = request.present
    session.send(answers.reply(350, "Restart Marker OK. Send STORE or RETR to initiate transfer."))


@on(requests.OptsRetr)
def _opts_retr(session: Session, request: requests.OptsRetr) -> None:
    channel = session.channel
    if request.digest is not None:
        demand_known(request.digest)
        session.digest_sent = request.digest
    if request.streams is not None:
        channel.parallelism = request.streams
    if request.block_bytes is not None:
        channel.block_bytes = request.block_bytes
    if request.markers_s is not None:
        channel.markers = replace(channel.markers, performance_s=request.markers_s)
    _opts_ok(session)


@on(requests.OptsMlst)
def _opts_mlst(session: Session, request: requests.OptsMlst) -> None:
    session.facts = answers.FactLines(request.facts)
    _opts_ok(session)


@on(requests.OptsPasv)
def _opts_pasv(session: Session, request: requests.OptsPasv) -> None:
    session.may_delay_passive = request.delayed
    _opts_ok(session)


@on(requests.OptsUtf8)
def _opts_utf8(session: Session, _request: requests.OptsUtf8) -> None:
    _opts_ok(session)


def _opts_ok(session: Session) -> None:
    session.send(answers.reply(200, "OPTS Command Successful."))


# -- where data goes


@on(requests.Pasv)
def _pasv(session: Session, _request: requests.Pasv) -> None:
    _refuse_if_extended_only(session)
    _refuse_without_ipv4(session)
    if session.may_delay_passive:
        session.channel.drop()
        session.passive_delayed = True
        session.send(answers.reply(200, "Passive delayed."))
        return
    session.send(answers.passive(_listen(session)))


@on(requests.Spas)
def _spas(session: Session, _request: requests.Spas) -> None:
    _refuse_if_extended_only(session)
    _refuse_without_ipv4(session)
    session.send(answers.striped_passive([_listen(session)]))


@on(requests.Epsv)
def _epsv(session: Session, request: requests.Epsv) -> None:
    local = _local_family(session)
    if request.family not in (0, local):
        said = f"Network protocol not supported, use ({1 if local == 4 else 2})."
        raise requests.RequestError(522, said)
    session.send(answers.extended_passive(_listen(session).port))


@on(requests.EpsvAll)
def _epsv_all(session: Session, _request: requests.EpsvAll) -> None:
    session.extended_only = True
    session.send(answers.reply(229, "EPSV ALL Successful."))


@on(requests.Port)
def _port(session: Session, request: requests.Port) -> None:
    _refuse_if_extended_only(session)
    session.passive_delayed = False
    try:
        session.channel.active(list(request.addresses))
    except GridFTPError as error:
        if error.kind is not Kind.ADDRESS_REFUSED:
            raise
        said = f"Illegal PORT command. : {printable(error.message, 200)}"
        raise requests.RequestError(501, said) from error
    session.send(answers.reply(200, "PORT Command successful."))


def _listen(session: Session) -> HostPort:
    session.passive_delayed = False
    (address,) = session.channel.passive()
    return address


def _local_family(session: Session) -> int:
    return 6 if ":" in session.opening.local_host else 4


def _refuse_without_ipv4(session: Session) -> None:
    if _local_family(session) == 6:
        raise requests.RequestError(425, "Only EPSV, as this connection is of IPv6.")


def _refuse_if_extended_only(session: Session) -> None:
    if session.extended_only:
        raise requests.RequestError(501, "Only EPSV, as promised by EPSV ALL.")
