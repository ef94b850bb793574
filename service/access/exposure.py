"""What must be so before the service opens its door: nobody from the network without a key, unless
that was said."""

import ipaddress
import socket

import click

from service.access.keys import InvalidKeys, parse
from service.settings import Settings


def check_exposure(settings: Settings) -> None:
    """Refuse settings that open the service to more people than they say.

    Raises:
        ClickException: they do, they contradict themselves, or the file of keys is no good.
    """
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
