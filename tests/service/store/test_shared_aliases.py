"""Aliases in a store: of changes at once none is lost, and copies follow."""

import threading
from pathlib import Path

import pytest

from service.contract import aliases
from service.contract.aliases import Aliases, InvalidAliases
from service.errors import Conflict
from service.store import shared_aliases
from service.store.mirror import Mirror
from tests.artifacts import edit
from tests.end_to_end.s3 import S3


@pytest.fixture
def replicas(s3: S3, tmp_path: Path) -> list[Mirror]:
    """Two machines over one store of tiny/1."""
    s3.upload(edit.copy(tmp_path / "trained"))
    found = [Mirror(s3.url, tmp_path / name) for name in ("a", "b")]
    for one in found:
        one.look()
    return found


def named(alias: str, one: Mirror) -> Aliases:
    return one.change("tiny", lambda now: now.promoted(alias, 1, None, None))


def test_of_changes_at_once_none_is_lost(s3: S3, replicas: list[Mirror]) -> None:
    together = threading.Barrier(4)

    def change(number: int) -> None:
        together.wait()
        for round_ in range(3):
            named(f"alias-{number}-{round_}", replicas[number % 2])

    threads = [threading.Thread(target=change, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = aliases.parse("tiny", s3.read("tiny/aliases.json"))
    assert set(kept.aliases) == {f"alias-{n}-{round_}" for n in range(4) for round_ in range(3)}
    for one in replicas:
        one.look()
        assert aliases.read(one.folder, "tiny") == kept


def test_a_change_reaches_the_store_and_the_other_replica(s3: S3, replicas: list[Mirror]) -> None:
    one, other = replicas
    after = named("live", one)
    assert aliases.parse("tiny", s3.read("tiny/aliases.json")) == after
    assert aliases.read(one.folder, "tiny") == after
    other.look()
    assert aliases.read(other.folder, "tiny") == after
    s3.loads()
    one.look()
    assert s3.loads() == []  # its own change is no news
    s3.delete("tiny/aliases.json")
    for replica in replicas:
        replica.look()
        assert aliases.read(replica.folder, "tiny") == Aliases()


def test_a_change_that_changes_nothing_writes_nothing(s3: S3, replicas: list[Mirror]) -> None:
    named("live", replicas[0])
    s3.asked.clear()
    named("live", replicas[1])
    assert [one.split()[0] for one in s3.asked] == ["GET"]
    assert aliases.read(replicas[1].folder, "tiny").aliases == {"live": 1}


def test_who_is_always_too_late_is_told_so(
    s3: S3, replicas: list[Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_aliases, "TRIES", 3)
    numbers = iter(range(100))

    def edited_meanwhile(now: Aliases) -> Aliases:
        named(f"other-{next(numbers)}", replicas[1])
        return now.promoted("live", 1, None, None)

    with pytest.raises(Conflict, match="changed by others 3 times"):
        replicas[0].change("tiny", edited_meanwhile)
    assert "live" not in aliases.parse("tiny", s3.read("tiny/aliases.json")).aliases


@pytest.mark.parametrize("content", [b"{", b'{"aliases": {"live": "x"}}', b" " * (1 << 17)])
def test_what_is_no_file_of_aliases_is_said_and_never_replaced(
    s3: S3, replicas: list[Mirror], content: bytes
) -> None:
    s3.put("tiny/aliases.json", content)
    replicas[0].look()
    with pytest.raises(InvalidAliases, match="tiny/aliases.json"):
        aliases.read(replicas[0].folder, "tiny")
    with pytest.raises(InvalidAliases, match="tiny/aliases.json"):
        named("live", replicas[0])
    assert s3.read("tiny/aliases.json") == content


def test_a_rollback_does_not_wait_for_what_is_being_loaded(
    s3: S3, replicas: list[Mirror], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = replicas
    seen = []

    def take(*_: object, **__: object) -> int:
        seen.append(aliases.read(other.folder, "tiny").aliases)
        return 0

    s3.upload(edit.copy(tmp_path / "trained", version=2))
    monkeypatch.setattr("service.store.loading.Loading.take", take)
    named("live", one)
    other.look()
    assert seen == [{"live": 1}] * 2
    s3.put("tiny/aliases.json", b'{"aliases": {"live": 2}}')  # which is not loaded yet
    other.look()
    assert seen == [{"live": 1}] * 4
    assert aliases.read(other.folder, "tiny").aliases == {"live": 2}
