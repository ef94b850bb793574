"""Changes of which version answers, where the models are: on the command line and over HTTP.

They write one small file, or take a version away; services that watch the place follow. Nothing
here is checked for being a good version: whoever calls has opened it before.
"""

from collections.abc import Callable

from service.contract import aliases, layout
from service.contract.aliases import CANARY, LIVE, SHADOW, Aliases, InvalidAliases
from service.errors import Conflict, Malformed, NotFound, Unservable
from service.repository.place import Place


def check_exists(place: Place, name: str, version: int | None = None) -> list[int]:
    """The versions of a model, as they are now.

    Raises:
        NotFound: there is no such model, or no such version.
        Conflict: an object store does not say.
    """
    place.refresh(name)
    found = layout.versions(place.folder, name)
    outside = place.refused().get(name, {})
    if version is not None and version in outside and version not in found:
        raise Conflict(outside[version].reason, "version")
    if not found:
        raise NotFound(f"there is no model {name!r} in the folder of models", "model")
    if version is not None and version not in found:
        raise NotFound(f"model {name!r} has the versions {found}, not {version}", "version")
    return found


def check_promotion(alias: str, share: float | None) -> None:
    """An alias that may be, and a share only where it means something.

    Raises:
        Malformed: another name.
        Unservable: a share of an alias that has none, or no percentage.
    """
    if not aliases.is_alias(alias) or alias == "previous":
        expected = "a letter, then letters, digits, - and _, and not 'previous'"
        raise Malformed(f"alias is {alias[:80]!r}, expected {expected}", "alias")
    if share is None:
        return
    if alias not in (CANARY, SHADOW):
        raise Unservable(f"share is for the aliases {CANARY} and {SHADOW}, not {alias!r}", "share")
    if not 0.0 <= share <= 100.0:
        raise Unservable(f"share is {share:g}, expected percent, 0 to 100", "share")


def promote(
    place: Place, name: str, version: int, alias: str, share: float | None, live: int | None
) -> Aliases:
    """Let an alias mean a version.

    Args:
        share: percent of requests, of canary and shadow; None leaves it.
        live: the version that answers now, for a rollback.

    Raises:
        Conflict: the file cannot be read or written.
    """
    return _change(place, name, lambda now: now.promoted(alias, version, share, live))


def release(place: Place, name: str, alias: str) -> Aliases:
    """Take an alias away; without `live`, the highest version answers.

    Raises:
        Conflict: the file cannot be read or written.
    """
    return _change(place, name, lambda now: now.released(alias))


def set_loaded(place: Place, name: str, loaded: bool) -> Aliases:
    """Let a model answer, or no longer.

    Raises:
        Conflict: the file cannot be read or written.
    """
    return _change(place, name, lambda now: now.model_copy(update={"unloaded": not loaded}))


def live_version(place: Place, name: str) -> int | None:
    """The version that is to answer, whether it can or not; None: the model is unloaded.

    Raises:
        NotFound: there is no such model.
        Conflict: aliases.json cannot be read.
    """
    versions = check_exists(place, name)
    now = read(place, name)
    return None if now.unloaded else now.aliases.get(LIVE, versions[-1])


def candidates_before(place: Place, name: str, live: int | None) -> list[int]:
    """Where a rollback may lead: what was live before, else older versions, the newest first.

    Raises:
        NotFound: there is no such model.
        Conflict: aliases.json cannot be read, or there is nothing to go back to.
    """
    versions = check_exists(place, name)
    previous = read(place, name).previous
    found = [previous] if previous in versions and previous != live else []
    found += [v for v in reversed(versions) if (live is None or v < live) and v != previous]
    if not found:
        message = f"model {name!r} has no version before {live} to go back to; there: {versions}"
        raise Conflict(message, "model")
    return [version for version in found if version is not None]


def delete(place: Place, name: str, version: int, live: int | None) -> None:
    """Take a version away.

    Raises:
        NotFound: there is none.
        Conflict: it answers or an alias means it, or it cannot be removed.
    """
    check_exists(place, name, version)
    now = read(place, name)
    roles = [alias for alias, meant in now.aliases.items() if meant == version]
    if live == version and LIVE not in roles:
        roles.append(LIVE)
    if roles:
        message = f"model {name!r}: version {version} is {', '.join(sorted(roles))}"
        raise Conflict(f"{message}; promote another version first", "version")
    try:
        place.remove(name, version)
    except OSError as error:
        raise Conflict(f"{name}/{version} cannot be deleted: {error.strerror}") from error
    if now.previous == version:
        _change(place, name, lambda then: then.model_copy(update={"previous": None}))


def read(place: Place, name: str) -> Aliases:
    """The aliases of a model.

    Raises:
        Conflict: the file cannot be read.
    """
    try:
        return aliases.read(place.folder, name)
    except InvalidAliases as error:
        raise Conflict(f"{error}; repair or delete the file", "model") from error


def _change(place: Place, name: str, edit: Callable[[Aliases], Aliases]) -> Aliases:
    try:
        return place.change(name, edit)
    except InvalidAliases as error:
        raise Conflict(f"{error}; repair or delete the file", "model") from error
    except OSError as error:
        why = error.strerror or type(error).__name__
        message = f"{name}/{aliases.FILE} cannot be written: {why}"
        raise Conflict(f"{message}; change it where the folder of models can be written") from error
