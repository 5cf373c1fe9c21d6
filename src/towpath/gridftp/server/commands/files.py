"""Files, directories, and where the session is (RFC 959, 3659; the SITE commands of GCT)."""

from __future__ import annotations

import errno
from typing import Final

from towpath.dsi.storage import EntryType, Facts
from towpath.gridftp.server.commands.base import AbortedError, Handlers, Session
from towpath.gridftp.wire import answers, requests
from towpath.gridftp.wire.listings import format_time

handlers: Final = Handlers()
on = handlers.on

_OK: Final = answers.reply(250, "OK.")


def _no_first_half() -> requests.RequestError:
    return requests.RequestError(501, "Invalid command arguments.")


@on(requests.Size)
def _size(session: Session, request: requests.Size) -> None:
    status = session.storage.status(session.path(request.path))
    session.send(answers.reply(213, str(status.size)))


@on(requests.Mdtm)
def _mdtm(session: Session, request: requests.Mdtm) -> None:
    status = session.storage.status(session.path(request.path))
    session.send(answers.reply(213, format_time(status.modified)))


@on(requests.SetTime, doing="utime")
def _set_time(session: Session, request: requests.SetTime) -> None:
    session.storage.set_modified(session.path(request.path), request.modified)
    session.send(_OK)


@on(requests.Mkd, doing="mkdir")
def _mkd(session: Session, request: requests.Mkd) -> None:
    path = session.path(request.path)
    session.storage.make_directory(path)
    session.send(answers.reply(257, b'Directory "%b" created successfully.' % path))


@on(requests.Rmd, doing="rmdir")
def _rmd(session: Session, request: requests.Rmd) -> None:
    session.storage.remove_directory(session.path(request.path))
    session.send(_OK)


@on(requests.Dele, doing="unlink")
def _dele(session: Session, request: requests.Dele) -> None:
    session.storage.remove_file(session.path(request.path))
    session.send(_OK)


@on(requests.SiteRdel, doing="unlink")
def _rdel(session: Session, request: requests.SiteRdel) -> None:
    path = session.path(request.path)
    try:
        session.storage.remove_tree(path, aborted=session.aborted)
    except NotADirectoryError:
        session.storage.remove_file(path)  # a file, or a link, as GCT
    except OSError as error:
        if error.errno == errno.ECANCELED:
            raise AbortedError from None
        raise
    session.send(_OK)


@on(requests.Rnfr)
def _rnfr(session: Session, request: requests.Rnfr) -> None:
    session.rename_from = None  # a failed RNFR must not leave an older one to the next RNTO
    path = session.path(request.path)
    session.storage.status(path, facts=Facts.TYPE)
    session.rename_from = path
    session.send(answers.reply(350, "OK. Send RNTO with destination name."))


@on(requests.Rnto, doing="rename")
def _rnto(session: Session, request: requests.Rnto) -> None:
    old, session.rename_from = session.rename_from, None
    if old is None:
        raise _no_first_half()
    session.storage.rename(old, session.path(request.path))
    session.send(_OK)


@on(requests.SiteSymlinkFrom)
def _symlink_from(session: Session, request: requests.SiteSymlinkFrom) -> None:
    session.link_target = None
    path = session.path(request.path)
    session.storage.status(path, facts=Facts.TYPE)
    session.link_target = path
    session.send(answers.reply(350, "OK. Send SITE SYMLINKTO with symlink name."))


@on(requests.SiteSymlinkTo, doing="symlink")
def _symlink_to(session: Session, request: requests.SiteSymlinkTo) -> None:
    target, session.link_target = session.link_target, None
    if target is None:
        raise _no_first_half()
    session.storage.make_link(target, session.path(request.path))
    session.send(_OK)


@on(requests.SiteChmod, doing="chmod")
def _chmod(session: Session, request: requests.SiteChmod) -> None:
    session.storage.set_mode(session.path(request.path), request.mode)
    session.send(_OK)


@on(requests.SiteChgrp, doing="chgrp")
def _chgrp(session: Session, request: requests.SiteChgrp) -> None:
    session.storage.set_group(session.path(request.path), request.group)
    session.send(_OK)


@on(requests.SiteTrnc, doing="truncate")
def _trnc(session: Session, request: requests.SiteTrnc) -> None:
    path = session.path(request.path)
    status = session.storage.status(path)
    if status.type is EntryType.FILE and status.size < request.size_bytes:
        raise requests.RequestError(500, "Current size is smaller than truncate size.")
    session.storage.truncate(path, request.size_bytes)
    session.send(_OK)


# -- the working directory


@on(requests.Cwd)
def _cwd(session: Session, request: requests.Cwd) -> None:
    _change_to(session, session.path(request.path))


@on(requests.Cdup)
def _cdup(session: Session, _request: requests.Cdup) -> None:
    _change_to(session, session.path(b".."))


def _change_to(session: Session, path: bytes) -> None:
    if session.storage.status(path, facts=Facts.TYPE).type is not EntryType.DIRECTORY:
        shown = path.decode("utf-8", "surrogateescape")
        raise requests.RequestError(550, f"{shown}: Not a directory.")
    session.directory = path
    session.send(answers.reply(250, "CWD command successful."))


@on(requests.Pwd)
def _pwd(session: Session, _request: requests.Pwd) -> None:
    session.send(answers.reply(257, b'"%b" is current directory.' % session.directory))
