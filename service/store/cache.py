"""The folder of this machine that holds what was loaded from one store.

    <name>/<version>/   as in any folder of models, and .store.json: the tags of its objects
    <name>/aliases.json and .aliases.tag beside it
    .look.json          what came of the last look at the store, for all processes
    .lock               held by whoever looks
    .incoming/          what is being loaded

A version appears as a whole by a rename, after it was verified. Processes that share the folder,
workers or several services, share what was loaded.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path

import msgspec

from service.contract import layout
from service.store.inventory import LIMITS
from service.store.objects import BadStore

_LOOK = ".look.json"
_LOCK = ".lock"
_INCOMING = ".incoming"
_TAGS = ".store.json"
_WHERE = ("ENDPOINT", "ACCOUNT_NAME", "BASE_URL", "EMULATOR")  # in names of variables
_CLOUDS = ("AWS_", "GOOGLE_", "AZURE_")
_POLL_S = 0.05


class Held(msgspec.Struct):
    """A version of the store that is not taken."""

    tags: dict[str, str]
    reason: str
    kind: str
    tries: int = 0  # at loading it
    again: float = 0.0  # when to try the next time, monotonic
    said: bool = False  # two looks have found it so, or it was loaded and was bad


class Look(msgspec.Struct):
    """What came of the last look; times are monotonic, but `seen`."""

    at: float = float("-inf")
    failure: str | None = None  # what the store said
    seen: float = 0.0  # the last look that worked, seconds since 1970
    lost: bool = False  # the store is empty, and was not
    held: dict[str, Held] = msgspec.field(default_factory=dict)  # by name/version

    def is_recent(self, every_s: float) -> bool:
        """Whether somebody has looked within a turn; a time after now is from before a boot."""
        return 0.0 <= time.monotonic() - self.at < every_s


class Cache:
    """Reads and changes that folder."""

    def __init__(self, url: str, chosen: Path | None) -> None:
        """Opens the folder of a store, and makes it where there is none.

        Args:
            chosen: the folder of all caches; None: the user's, else a temporary one.

        Raises:
            BadStore: there is none that can be written, or it belongs to somebody else.
        """
        root = chosen or _default()
        self.folder = root / _called(url)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.folder / _INCOMING).mkdir(mode=0o700, exist_ok=True)
            (self.folder / _LOCK).touch(mode=0o600)
        except OSError as error:
            why = f"{error.filename or self.folder} cannot be written: {error.strerror}"
            raise BadStore(f"--store-cache: {why}; name a folder that can") from None

    @contextmanager
    def turn(self, wait_s: float = 0.0) -> Iterator[bool]:
        """Whether it is ours to look, as nobody else does, now or within so many seconds."""
        end = time.monotonic() + wait_s
        with (self.folder / _LOCK).open("wb") as lock:
            while not (ours := _locked(lock.fileno())) and time.monotonic() < end:
                time.sleep(_POLL_S)
            yield ours

    def read(self) -> Look:
        """What came of the last look, whoever did it."""
        try:
            return _DECODER.decode((self.folder / _LOOK).read_bytes())
        except (OSError, msgspec.MsgspecError):
            return Look()

    def write(self, look: Look) -> None:
        """Tell the others."""
        self._replace(self.folder / _LOOK, _ENCODER.encode(look))

    def versions(self) -> dict[str, list[int]]:
        """What it holds, by model."""
        return {name: layout.versions(self.folder, name) for name in layout.names(self.folder)}

    def tags(self, name: str, version: int) -> dict[str, str]:
        """Those of a version when it was loaded; none where that was not finished."""
        path = layout.folder(self.folder, name, version) / _TAGS
        with suppress(OSError, msgspec.MsgspecError):
            return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        return {}

    @contextmanager
    def incoming(self, name: str, version: int) -> Iterator[Path]:
        """An empty folder for a version; what is still in it at the end goes."""
        self.sweep()
        aside = Path(tempfile.mkdtemp(dir=self.folder / _INCOMING))
        try:
            folder = aside / name / str(version)
            folder.mkdir(parents=True)
            yield folder
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def place(self, incoming: Path, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Put a verified version where it is served from.

        One that is there is replaced file by file: it is never gone, and whoever reads between two
        files finds their hashes in disagreement and looks again.
        """
        (incoming / _TAGS).write_bytes(msgspec.json.encode(dict(tags)))
        folder = layout.folder(self.folder, name, version)
        if not folder.exists():
            folder.parent.mkdir(exist_ok=True)
            incoming.rename(folder)
            return
        (folder / _TAGS).unlink(missing_ok=True)
        for file in (*LIMITS, _TAGS):
            (incoming / file).replace(folder / file)

    def remove(self, name: str, version: int | None = None) -> None:
        """Take a version away, or a model with all that is left of it; gone at once."""
        folder = self.folder / name
        if version is not None:
            folder = layout.folder(self.folder, name, version)
        if folder.exists():
            grave = tempfile.mkdtemp(dir=self.folder / _INCOMING)
            folder.rename(Path(grave) / folder.name)
            shutil.rmtree(grave, ignore_errors=True)

    def sweep(self) -> None:
        """Take away what a process that was killed left behind."""
        for entry in (self.folder / _INCOMING).iterdir():
            shutil.rmtree(entry, ignore_errors=True)

    def _replace(self, path: Path, data: bytes) -> None:
        descriptor, unfinished = tempfile.mkstemp(prefix=".new-", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(unfinished, path)


_DECODER = msgspec.json.Decoder(Look)
_ENCODER = msgspec.json.Encoder()


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _called(url: str) -> str:
    """A name for the store of a URL; the same URL of another endpoint or account is another one."""
    where = sorted(
        f"{key}={value}"
        for key, value in os.environ.items()
        if key.startswith(_CLOUDS) and any(part in key for part in _WHERE)
    )
    digest = blake2b("\n".join([url, *where]).encode(), digest_size=6).hexdigest()
    return f"{url.partition('://')[2].replace('/', '-')[-80:]}-{digest}"


def _default() -> Path:
    """A folder that nobody else can have put a model into."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    temporary = Path(tempfile.gettempdir()) / f"gatecast-{os.geteuid()}"
    for root in (home / "gatecast", temporary):
        with suppress(OSError):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = root.lstat()
            ours = found.st_uid == os.geteuid() and not found.st_mode & 0o022
            if ours and os.access(root, os.W_OK):
                return root
    raise BadStore(
        f"--store-cache: neither {home} nor {temporary} can hold what is loaded; name a folder"
    )
