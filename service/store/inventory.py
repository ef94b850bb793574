"""What a store holds of models, by the names of its objects, which are trusted in nothing.

Only `<name>/<version>/` of names and versions as the layout has them, and of each version only the
three files that are served, ever become paths of this machine. All other objects, reports too, are
left where they are.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from service.contract import aliases, layout
from service.contract.artifact import GOLDEN, METADATA, MODEL
from service.store.objects import Object

# The largest file of each kind, bytes. A graph in one file cannot be larger than protobuf's 2 GiB.
LIMITS = {METADATA: 1 << 26, GOLDEN: 1 << 28, MODEL: 1 << 31}

Files = dict[str, Object]  # of a version, by file


@dataclass
class Shelf:
    """One model in the store."""

    aliases: Object | None = None
    versions: dict[int, Files] = field(default_factory=dict)


def shelves(objects: Iterable[Object]) -> dict[str, Shelf]:
    """The models in a listing that have at least a part of a version."""
    found: dict[str, Shelf] = {}
    for one in objects:
        name, *rest = one.path.split("/")
        if not layout.is_name(name):
            continue
        match rest:
            case [aliases.FILE]:
                found.setdefault(name, Shelf()).aliases = one
            case [version, file] if layout.is_version(version) and file in LIMITS:
                shelf = found.setdefault(name, Shelf())
                shelf.versions.setdefault(int(version), {})[file] = one
    return {name: shelf for name, shelf in found.items() if shelf.versions}


def lacking(files: Files) -> str | None:
    """Why the files cannot be a version, before one of them is loaded."""
    missing = [name for name in LIMITS if name not in files]
    if missing:
        return (
            f"{' and '.join(missing)} not there (yet); upload what is missing, or delete the rest"
        )
    for name, most in LIMITS.items():
        if files[name].size > most:
            return f"{name} has {files[name].size} bytes, at most {most} are taken"
    return None


def tags(files: Files) -> dict[str, str]:
    """What tells whether a version is another one."""
    return {name: one.tag for name, one in sorted(files.items())}
