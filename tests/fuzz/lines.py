"""Command lines: good ones, bent ones, and noise."""

import base64
import random
from collections.abc import Sequence

from fuzz.bending import NUMBERS, bent
from towpath.gridftp.wire.request_lines import SITE_VERBS, VERBS

_VERBS = [verb.encode() for verb in VERBS]
_SITE_VERBS = [b"SITE " + verb.encode() for verb in SITE_VERBS]
_TRANSFERS = (b"RETR", b"STOR", b"APPE", b"ERET", b"ESTO", b"MLSD", b"MLSR", b"NLST", b"LIST")
_ALGORITHMS = (b"MD5", b"ADLER32", b"SHA1", b"SHA256", b"SHA512", b"BLAKE3", b"XXH64", b"NONE")
_RULES = (b"RW/", b"N/d", b"R/", b"W/d,R/f", b"RW/d,N/d/e", b"N/", b"RW/,", b"X/")
_FACTS = (b"type;size;", b"unique;charset;", b"", b"Type;Modify;UNIX.mode;unix.slink;", b";;x=y")
_OPTIONS = (
    *(b"RETR Parallelism=4,4,4;", b"RETR Parallelism=129;", b"RETR StripeLayout=Blocked;"),
    *(b"RETR BlockSize=1;Markers=0.01;", b"PASV AllowDelayed=1;", b"PASV AllowDelayed=0;"),
    *(b"UTF8 ON", b"MLST type;size", b"MLST", b"RETR Markers=.01;"),
)


def line(dice: random.Random, paths: Sequence[bytes], ports: Sequence[int] = ()) -> bytes:
    """One command, without its line end; `ports` of this machine for PORT."""
    kind = dice.randrange(20)
    if kind == 0:
        return dice.randbytes(dice.choice((0, 1, 4, 60, 3000)))
    verb = dice.choice(_VERBS if dice.randrange(4) else _SITE_VERBS)
    if dice.randrange(3) == 0:
        verb = dice.choice(_TRANSFERS)
    if kind == 1:
        verb, said = dice.choice(_VERBS), _argument(dice, dice.choice(_VERBS), paths, ports)
    else:
        said = _argument(dice, verb, paths, ports)
    text = verb + b" " + said if said else verb
    if kind < 7:
        text = bent(dice, text, [*paths, *_OPTIONS, *_RULES])
    if kind == 7:
        text = text.swapcase()
    return text


def _path(dice: random.Random, paths: Sequence[bytes]) -> bytes:
    path = dice.choice(paths)
    match dice.randrange(12):
        case 0:
            return bent(dice, path, paths)
        case 1:
            return path + b"/" + dice.choice(paths)
        case 2:
            return b"../" * dice.randint(1, 5) + path
        case 3:
            return b"/" + dice.choice((b"n" * 300, b"a/" * 2500, b"\xff\xfe", b".", b"\0", b"x\ny"))
        case _:
            return path


def _argument(
    dice: random.Random, verb: bytes, paths: Sequence[bytes], ports: Sequence[int]
) -> bytes:
    path = _path(dice, paths)
    number = dice.choice(NUMBERS) if dice.randrange(3) else b"%d" % dice.randrange(3000)
    other = dice.choice(NUMBERS) if dice.randrange(3) else b"%d" % dice.randrange(3000)
    algorithm = dice.choice(_ALGORITHMS)
    match verb:
        case b"ERET":
            form = dice.choice((b'P="%b %b" %b', b"P %b %b %b"))
            return form % (number, other, path)
        case b"ESTO":
            return dice.choice((b'A="%b" %b', b"A %b %b")) % (number, path)
        case b"REST":
            return dice.choice((number, b"%b-%b" % (number, other), b"0-5,7-%b" % number))
        case b"CKSM":
            return b"%b %b %b %b" % (algorithm, number, dice.choice((b"-1", other)), path)
        case b"SCKS":
            return b"%b %b" % (algorithm, dice.choice((b"00" * 16, number)))
        case b"MFMT" | b"SITE UTIME":
            return dice.choice((b"20200101000000", b"19691231235959.5", number)) + b" " + path
        case b"TYPE":
            return dice.choice((b"I", b"A", b"A N", b"L 8", b"E"))
        case b"MODE":
            return dice.choice((b"S", b"E", b"B"))
        case b"STRU":
            return dice.choice((b"F", b"R"))
        case b"PROT":
            return dice.choice((b"C", b"S", b"P", b"E"))
        case b"DCAU":
            return dice.choice((b"N", b"A", b"S /CN=x", b"S"))
        case b"DCSC":
            blob = base64.b64encode(b"-----BEGIN CERTIFICATE-----\n" + dice.randbytes(40))
            return dice.choice((b"D", b"P " + blob, b"P"))
        case b"PBSZ" | b"ALLO" | b"SBUF":
            return number
        case b"TREV":
            return dice.choice((b"PERF", b"RESTART")) + b" " + dice.choice((b"0.01", b"0", number))
        case b"OPTS":
            return dice.choice(_OPTIONS) if dice.randrange(3) else b"MLST " + dice.choice(_FACTS)
        case b"EPSV":
            return dice.choice((b"", b"1", b"2"))
        case b"PORT" | b"SPOR":
            port = dice.choice(ports) if ports and dice.randrange(4) else dice.randrange(65536)
            said = b"%d,%d" % divmod(port, 256)
            return dice.choice((b"127,0,0,1,", b"127,0,0,1,", b"10,9,8,7,", b"1,2,")) + said
        case b"EPRT":
            port = dice.choice(ports) if ports and dice.randrange(4) else dice.randrange(65536)
            return dice.choice((b"|1|127.0.0.1|%d|", b"|2|::1|%d|")) % port
        case b"LIST" | b"NLST":
            return dice.choice((b"", b"-la ", b"")) + dice.choice((b"", path))
        case b"SITE STORATTR":
            return b"modify=20200101000000;checksum.%b=%b;" % (algorithm.lower(), number)
        case b"SITE RESTRICT":
            return dice.choice(_RULES)
        case b"SITE CHMOD":
            return dice.choice((b"644", b"0", b"7777", b"8", number)) + b" " + path
        case b"SITE CHGRP":
            return dice.choice((b"0", b"nogroup", number)) + b" " + path
        case b"SITE TRNC":
            return number + b" " + path
        case b"PASV" | b"SPAS" | b"NOOP" | b"ABOR" | b"QUIT" | b"SYST" | b"FEAT" | b"PWD":
            return b""
        case _:
            return path
