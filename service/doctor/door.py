"""Who could ask: address, keys, and whether the certificate is good and for how long."""

import ssl
import stat
import time
from collections.abc import Callable
from pathlib import Path

import click

from service.access.exposure import check_exposure, is_loopback
from service.access.keys import parse
from service.doctor.area import Area
from service.settings import Settings

SOON_D = 14  # days before its end in which a certificate is worth a word
_DAY_S = 86_400


def door(settings: Settings, now: Callable[[], float] = time.time) -> Area:
    """The address and who may ask there."""
    scheme = "http" if settings.tls_certificate is None else "https"
    area = Area("door", {"address": f"{scheme}://{settings.host}:{settings.port}"})
    if settings.grpc_port is not None:
        area.facts["gRPC"] = f"{settings.host}:{settings.grpc_port}"
    near = is_loopback(settings.host)
    area.facts["reached from"] = "this machine" if near else "the network"
    area.facts["keys"] = "none: everyone may do everything"
    try:
        check_exposure(settings)
    except click.ClickException as error:
        area.complain(error.message, "it keeps the service from starting; change it")
        return area
    if settings.keys is not None:
        _look_at_keys(settings.keys, area)
    if settings.tls_certificate is not None and settings.tls_key is not None:
        _look_at_certificate(settings.tls_certificate, settings.tls_key, area, now())
    elif settings.keys is not None and not near:
        area.complain(
            "keys cross the network without TLS, where others can read them",
            "give --tls-certificate and --tls-key, or let a proxy in front speak TLS to the world",
        )
    return area


def _look_at_keys(path: Path, area: Area) -> None:
    keys = parse(path.read_text())
    scopes = sorted({scope for key in keys for scope in key.scopes})
    area.facts["keys"] = f"{len(keys)} in {path}, for {', '.join(scopes)}"
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        area.complain(
            f"others than its owner can write {path} (mode {mode:o}), and let themselves in",
            f"chmod 600 {path}, or 644 where the service is another user",
        )


def _look_at_certificate(certificate: Path, key: Path, area: Area, now: float) -> None:
    """What a client would see, by a handshake with ourselves in memory."""
    try:
        ends = ssl.cert_time_to_seconds(str(_shown(certificate, key)["notAfter"]))
    except ssl.SSLError as error:
        why = getattr(error, "verify_message", "") or str(error)
        area.complain(f"clients will not accept {certificate}: {why}", "renew it, then restart")
        return
    days = (ends - now) / _DAY_S
    area.facts["certificate"] = f"good for {days:.0f} days"
    if days < SOON_D:
        area.complain(
            f"{certificate} ends in {days:.0f} days; it is read at the start only",
            "renew it, then restart",
        )


def _shown(certificate: Path, key: Path) -> dict[str, object]:
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(certificate, key)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    theirs.check_hostname = False
    theirs.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # who signed it is not asked here
    theirs.load_verify_locations(certificate)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = ours.wrap_bio(there, back, server_side=True)
    client = theirs.wrap_bio(back, there)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return dict(client.getpeercert() or {})
