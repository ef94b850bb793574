"""An object store: what there is below one prefix, and the bytes of it.

obstore speaks S3, Google Cloud Storage and Azure Blob Storage with one client in Rust. Credentials,
region and endpoint come from the environment's usual variables; nothing of them is in the URL. A
request is bounded, and tried again at most twice: to look again later is the better retry.
"""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from service.errors import Conflict

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

MOST_OBJECTS = 100_000  # below the prefix; more is a bucket of something else
LISTING_S = 60.0  # for all pages of a listing
_CONNECT_S = 3.0
ANSWER_S = 5.0  # for a request, but for downloads
_SILENCE_S = 10.0  # in a download
_DOWNLOAD_S = 3600.0
_CHUNK = 1 << 20  # bytes at least, of a download
_SAID = 300  # characters kept of what a store says
_MACHINE = "169.254.169.254"  # where clouds tell their machines who they are
_ANSWER = re.compile(r"status code: ([^:<]+):.*?<Code>([^<]*)</Code>.*?<Message>([^<]*)</Message>")
_URL = re.compile(r"^(s3|gs|az)://([A-Za-z0-9][A-Za-z0-9._-]{1,254})(?:/([A-Za-z0-9._/=-]*))?$")


class BadStore(ValueError):
    """A URL that names no store, or a store that cannot be spoken to from here."""


class StoreFailed(Conflict):
    """The store did not answer, or refused; the message is what it said."""


class Changed(Exception):
    """An object is no longer what it was."""


@dataclass(frozen=True)
class Object:
    """What a store says of one object."""

    path: str  # below the prefix
    size: int  # bytes
    tag: str  # another one for other bytes
    condition: Mapping[str, str]  # what the store compares before it replaces the object


def check_url(url: str) -> str:
    """The URL without a slash at its end.

    Raises:
        BadStore: it is none of a store, or holds more than a bucket and a prefix.
    """
    found = _URL.fullmatch(url)
    if found is None or any(part in ("", ".", "..") for part in _parts(found[3])):
        raise BadStore(
            "expected a folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix, "
            "without credentials, which belong into the environment"
        )
    return url.rstrip("/")


def _parts(prefix: str | None) -> list[str]:
    return (prefix or "").rstrip("/").split("/") if prefix and prefix != "/" else []


class Objects:
    """The objects below a URL."""

    def __init__(self, url: str) -> None:
        """Nothing is asked yet.

        Raises:
            BadStore: obstore is missing, the URL is none, or the environment does not suffice.
        """
        self.url = check_url(url)
        try:
            from obstore.store import from_url
        except ImportError:
            raise BadStore("an object store needs obstore: pip install 'gatecast[store]'") from None
        try:
            self._brief: ObjectStore = from_url(self.url, **_options(ANSWER_S, ANSWER_S))
            self._long: ObjectStore = from_url(self.url, **_options(_DOWNLOAD_S, _SILENCE_S))
        except Exception as error:  # obstore's own classes and ValueError
            raise BadStore(said(error)) from None

    def all(self, under: str | None = None) -> list[Object]:
        """Every object, or those under a folder.

        Raises:
            StoreFailed: it cannot be listed, or holds too many.
        """
        found: list[Object] = []
        end = time.monotonic() + LISTING_S
        with self._told("", "listed"):
            for page in self._brief.list(under, chunk_size=1000):
                found += [_object(meta) for meta in page]
                if len(found) > MOST_OBJECTS:
                    said = f"more than {MOST_OBJECTS} objects; give models a prefix of their own"
                    raise StoreFailed(f"{self.url} holds {said}")
                if time.monotonic() > end:
                    raise StoreFailed(f"{self.url} was not listed within {LISTING_S:g} s")
        return found

    def read(self, path: str, most: int) -> tuple[Object, bytes] | None:
        """A small object, at most so many bytes and one of it; None: there is none.

        Raises:
            StoreFailed: it cannot be read.
        """
        with self._told(path, "read"):
            try:
                result = self._brief.get(path)
            except FileNotFoundError:
                return None
            data = b""
            for chunk in result.stream(min_chunk_size=1 << 16):
                data += bytes(chunk)
                if len(data) > most:
                    return _object(result.meta), data[: most + 1]
            return _object(result.meta), data

    def stream(self, wanted: Object) -> Iterator[bytes]:
        """The bytes of an object as it was listed.

        Raises:
            StoreFailed: they cannot be read.
            Changed: the object is gone, or another one.
        """
        with self._told(wanted.path, "read"):
            try:
                result = self._long.get(wanted.path)
            except FileNotFoundError as error:
                raise Changed(wanted.path) from error
            if _object(result.meta).tag != wanted.tag:
                raise Changed(wanted.path)
            for chunk in result.stream(min_chunk_size=_CHUNK):
                yield bytes(chunk)

    def write(self, path: str, data: bytes, before: Object | None) -> str:
        """Write an object where it is still as it was; its tag then.

        Args:
            before: what was read; None: there was none.

        Raises:
            StoreFailed: it cannot be written, or nobody knows whether it was.
            Changed: somebody else was faster.
        """
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: Any = "create"
        if before is not None:
            mode = dict(before.condition)
        with self._told(path, "written"):
            try:
                result = self._brief.put(path, data, mode=mode, use_multipart=False)
                return _tag(result["e_tag"])
            except (AlreadyExistsError, PreconditionError, FileNotFoundError) as error:
                raise Changed(path) from error

    def delete(self, paths: list[str]) -> None:
        """Take objects away.

        Raises:
            StoreFailed: they cannot be deleted.
        """
        with self._told(paths[0], "deleted"):
            self._brief.delete(paths)

    @contextmanager
    def _told(self, path: str, done: str) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            where = f"{self.url}/{path}".rstrip("/")
            raise StoreFailed(f"{where} cannot be {done}: {said(error)}") from error


def said(error: Exception) -> str:
    """What a store or its client says, in one line."""
    text = " ".join(str(error).partition("\n\nDebug source")[0].split())
    if found := _ANSWER.search(text):  # what stores say in XML, without who was asked what
        text = f"{found[1]}: {found[2]}: {found[3]}"
    if _MACHINE in text:
        text = f"no credentials in the environment, and none of the machine's own: {text}"
    return text if len(text) <= _SAID else f"{text[:_SAID]} ..."


def _object(meta: "ObjectMeta") -> Object:
    known = {"e_tag": meta["e_tag"], "version": meta["version"]}
    condition = {name: value for name, value in known.items() if value is not None}
    tag = _tag(meta["e_tag"]) or f"{meta['last_modified'].isoformat()} {meta['size']}"
    return Object(meta["path"], meta["size"], tag, condition)


def _tag(e_tag: str | None) -> str:
    """Without its quotes, which Azure's listings leave out."""
    return (e_tag or "").strip('"')


def _options(answer_s: float, silence_s: float) -> dict[str, Any]:
    """Of a client. Plain HTTP is spoken only to an endpoint of the environment that says so."""
    client: ClientConfig = {
        "allow_http": True,
        "connect_timeout": timedelta(seconds=_CONNECT_S),
        "read_timeout": timedelta(seconds=silence_s),
        "timeout": timedelta(seconds=answer_s),
    }
    retry: RetryConfig = {"max_retries": 2, "retry_timeout": timedelta(seconds=ANSWER_S)}
    return {"client_options": client, "retry_config": retry}
