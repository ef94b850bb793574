"""The file of API keys: a line of JSON for each, without its secret.

A key is `gc_<id>_<secret>`, its secret 256 random bits. What makes slow hashes good for passwords
is that passwords can be guessed; such a secret cannot, however fast the hash. So it is SHA-256 over
a salt and the secret, once: a microsecond for each request, and no way for strangers to keep the
service busy with hashing.
"""

import fcntl
import hashlib
import hmac
import math
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.contract.metadata import NAME_PATTERN

Grant = Literal["infer", "admin", "metrics"]  # what a key may be allowed
GRANTS: tuple[Grant, ...] = ("infer", "admin", "metrics")

_PREFIX = "gc"


class InvalidKeys(ValueError):
    """The file of keys is not what it should be; says which line and why."""


class Key(BaseModel):
    """What the file knows of a key; the secret itself is nowhere."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    name: str = Field(pattern=NAME_PATTERN)
    scopes: Annotated[tuple[Grant, ...], Field(min_length=1)]
    rate: float | None = Field(None, gt=0, allow_inf_nan=False)  # requests per second
    burst: int | None = Field(None, ge=1)  # requests at once; both or neither
    created: datetime
    salt: str = Field(pattern=r"^[0-9a-f]{32}$")
    hash: str = Field(pattern=r"^[0-9a-f]{64}$")


def new_key(
    name: str, scopes: Iterable[Grant], rate: float | None = None, burst: int | None = None
) -> tuple[Key, str]:
    """A key that nobody had before, and its text, which cannot be had again.

    Args:
        rate: requests per second; None: as many as come.
        burst: requests at once; None: those of one second.

    Raises:
        ValueError: the name is no name, no scope is given, or a number is out of range.
    """
    if rate is not None and burst is None and math.isfinite(rate):
        burst = max(1, round(rate))
    identifier, secret, salt = secrets.token_hex(6), secrets.token_hex(32), secrets.token_hex(16)
    key = Key(
        id=identifier,
        name=name,
        scopes=tuple(dict.fromkeys(scopes)),
        rate=rate,
        burst=burst,
        created=datetime.now(UTC).replace(microsecond=0),
        salt=salt,
        hash=hash_of(bytes.fromhex(salt), secret.encode()).hex(),
    )
    return key, f"{_PREFIX}_{identifier}_{secret}"


def hash_of(salt: bytes, secret: bytes) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(salt + secret).digest()


def is_same(salt: bytes, expected: bytes, secret: bytes) -> bool:
    """Whether this is the secret with that hash; takes as long whatever the answer."""
    return hmac.compare_digest(hash_of(salt, secret), expected)


def split(text: bytes) -> tuple[bytes, bytes] | None:
    """The id and the secret of a key as its owner sends it; None where it is no key."""
    parts = text.split(b"_")
    if len(parts) != 3 or parts[0] != _PREFIX.encode():
        return None
    return parts[1], parts[2]


def parse(text: str) -> list[Key]:
    """The keys of a file; empty lines and those that begin with # are passed over.

    Raises:
        InvalidKeys: a line is no key, or two keys have one id or name.
    """
    found: list[Key] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            key = Key.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise InvalidKeys(f"line {number}: {where}: {first['msg']}") from None
        if (key.rate is None) != (key.burst is None):
            raise InvalidKeys(f"line {number}: rate and burst go together; give both or neither")
        if any(key.id == other.id or key.name == other.name for other in found):
            raise InvalidKeys(f"line {number}: another key has the id or the name of {key.name!r}")
        found.append(key)
    return found


@contextmanager
def changing(path: Path) -> Iterator[list[Key]]:
    """The keys of a file, to be changed in place; none where there is no file yet.

    One at a time, and written as a whole: who reads meanwhile sees the old file or the new one.

    Raises:
        InvalidKeys: the file is broken; it is left as it is.
        OSError: it cannot be read or written.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        keys = parse(path.read_text()) if path.exists() else []
        yield keys
        _write(path, keys)
    finally:
        os.close(folder)


def _write(path: Path, keys: Iterable[Key]) -> None:
    """A new file in place of the old one, as private as that one was."""
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    descriptor, name = tempfile.mkstemp(".keys", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.writelines(f"{key.model_dump_json()}\n" for key in keys)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
