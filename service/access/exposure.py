"""What must be so before the service opens its door: nobody from the network without a key, unless
that was said."""

import ipaddress
import re
import socket
import ssl

import click

from service.access.keys import InvalidKeys, parse
from service.settings import Settings, origins

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")


def check_exposure(settings: Settings) -> None:
    """Refuse settings that open the service to more people than they say.

    Raises:
        ClickException: they do, they contradict themselves, or a file of theirs is no good.
    """
    _check_tls(settings)
    _check_origins(settings)
    if settings.keys is not None:
        if settings.no_auth:
            raise click.ClickException("--keys and --no-auth contradict each other; give one")
        _check_keys(settings)
    elif not settings.no_auth and not is_loopback(settings.host):
        raise click.ClickException(
            f"--host {settings.host} opens the service to the network, and there are no keys: "
            "make one with 'gatecast keys create NAME --file keys.jsonl' and give "
            "--keys keys.jsonl, or say --no-auth"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address or a name; unknown names can be anything."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    if not host:  # every address
        return False
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ipaddress.ip_address(address[0]).is_loopback for *_, address in found)


def _check_tls(settings: Settings) -> None:
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None and key is None:
        return
    if certificate is None or key is None:
        raise click.ClickException("--tls-certificate and --tls-key go together; give both")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, _no_passphrase)
    except OSError as error:  # of which SSL's own are a kind
        message = f"--tls-certificate {certificate} --tls-key {key}: {error.strerror or error}"
        raise click.ClickException(
            f"{message}; expected two PEM files that belong together"
        ) from None


def _no_passphrase() -> str:
    """Instead of a question on the terminal; there is no such key."""
    return ""


def _check_origins(settings: Settings) -> None:
    for origin in origins(settings.cors_origins):
        if origin != "*" and _ORIGIN.fullmatch(origin) is None:
            raise click.ClickException(
                f"--cors-origins: {origin!r} is no origin; expected for example "
                "https://example.org or http://localhost:3000, without a path"
            )


def _check_keys(settings: Settings) -> None:
    assert settings.keys is not None
    remedy = f"gatecast keys create NAME --file {settings.keys}"
    try:
        found = parse(settings.keys.read_text())
    except FileNotFoundError:
        raise click.ClickException(f"--keys: there is no file {settings.keys}; {remedy}") from None
    except (OSError, UnicodeDecodeError, InvalidKeys) as error:
        raise click.ClickException(f"--keys: {settings.keys}: {error}") from None
    if not found:
        raise click.ClickException(f"--keys: {settings.keys} has no key; {remedy}")
