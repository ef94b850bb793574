"""Who is let in, by a file that changes and a clock that the test turns."""

import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access.bucket import Bucket
from service.access.keyring import LOOK_S, Keyring, presented
from service.access.keys import Grant, changing, new_key
from service.errors import Forbidden, RateLimited, Unauthenticated


class Clock:
    """Seconds, as far as the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make(path: Path, name: str, *scopes: Grant, rate: float | None = None) -> bytes:
    key, text = new_key(name, scopes or ("infer",), rate)
    with changing(path) as keys:
        keys.append(key)
    return text.encode()


def drop(path: Path, name: str) -> None:
    with changing(path) as keys:
        keys[:] = [key for key in keys if key.name != name]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.jsonl"


def test_a_key_is_let_in_where_it_has_the_scope_and_nowhere_else(path: Path) -> None:
    reader = make(path, "reader", "metrics")
    keyring = Keyring(path, Clock())
    keyring.admit(reader, "metrics")
    keyring.admit(reader, "any")
    for scope in ("infer", "admin"):
        with pytest.raises(Forbidden, match=f"'reader' has not the scope {scope}"):
            keyring.admit(reader, scope)


def test_admin_does_not_include_the_others(path: Path) -> None:
    admin = make(path, "root", "admin")
    with pytest.raises(Forbidden, match="has not the scope infer; its scopes: admin"):
        Keyring(path, Clock()).admit(admin, "infer")


def test_without_a_good_key_nobody_is_let_in_and_no_key_is_repeated(path: Path) -> None:
    good = make(path, "app")
    keyring = Keyring(path, Clock())
    identifier, secret = good.split(b"_")[1:]
    forged = [
        b"",
        b"gc",
        b"gc__",
        good[:-1],
        good + b"0",
        good.upper(),
        b"gc_" + identifier + b"_" + b"0" * 64,
        b"gc_" + b"0" * 12 + b"_" + secret,
        b"\xff" * 30,
    ]
    for one in (None, *forged):
        with pytest.raises(Unauthenticated) as caught:
            keyring.admit(one, "any")
        assert secret.decode() not in caught.value.message
        assert "Authorization: Bearer KEY" in caught.value.message


def test_a_revoked_key_is_out_at_the_next_look_and_a_new_one_in(path: Path) -> None:
    old = make(path, "old")
    clock = Clock()
    keyring = Keyring(path, clock)
    keyring.admit(old, "infer")
    drop(path, "old")
    new = make(path, "new")
    clock.now += LOOK_S / 2
    keyring.admit(old, "infer")  # not looked yet
    clock.now += LOOK_S / 2
    keyring.admit(new, "infer")
    with pytest.raises(Unauthenticated):
        keyring.admit(old, "infer")


def test_a_change_within_a_file_is_seen_as_well(path: Path) -> None:
    key = make(path, "app")
    clock = Clock()
    keyring = Keyring(path, clock)
    keyring.admit(key, "infer")
    path.write_text(path.read_text().replace('"infer"', '"admin"'))
    os.utime(path, ns=(0, 1))  # of the same length
    clock.now += LOOK_S
    with pytest.raises(Forbidden):
        keyring.admit(key, "infer")


def test_a_broken_file_keeps_the_keys_before_and_is_said_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = make(path, "app")
    clock = Clock()
    keyring = Keyring(path, clock)
    keyring.admit(key, "infer")
    path.write_text("nothing")
    with caplog.at_level(logging.ERROR, "gatecast"):
        for _ in range(3):
            clock.now += LOOK_S
            keyring.admit(key, "infer")
    (record,) = caplog.records
    assert "the keys before are kept: line 1" in record.getMessage()


def test_without_a_file_there_is_nobody_until_it_is_back(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = make(path, "app")
    clock = Clock()
    keyring = Keyring(path, clock)
    keyring.admit(key, "infer")
    path.rename(path.with_suffix(".away"))
    for _ in range(2):
        clock.now += LOOK_S
        with pytest.raises(Unauthenticated):
            keyring.admit(key, "infer")
    assert caplog.text.count("is missing; nobody is let in") == 1
    path.with_suffix(".away").rename(path)
    clock.now += LOOK_S
    keyring.admit(key, "infer")


def test_a_key_that_asks_too_often_is_told_when_to_come_back(path: Path) -> None:
    limited, free = make(path, "limited", rate=0.25), make(path, "free")
    clock = Clock()
    keyring = Keyring(path, clock)
    keyring.admit(limited, "infer")
    with pytest.raises(RateLimited) as caught:
        keyring.admit(limited, "infer")
    assert caught.value.retry_after == 4
    keyring.admit(free, "infer")  # others are not concerned
    keyring.admit(limited, "infer", counts=False)
    clock.now += 4.0
    keyring.admit(limited, "infer")
    with pytest.raises(RateLimited):
        keyring.admit(limited, "infer")


def test_a_change_of_the_file_does_not_fill_the_bucket_but_another_rate_does(path: Path) -> None:
    limited = make(path, "limited", rate=0.001)
    clock = Clock()
    keyring = Keyring(path, clock)
    keyring.admit(limited, "infer")
    make(path, "another")
    clock.now += LOOK_S
    with pytest.raises(RateLimited):
        keyring.admit(limited, "infer")
    path.write_text(path.read_text().replace('"rate":0.001', '"rate":0.01'))
    clock.now += LOOK_S
    keyring.admit(limited, "infer")


def test_who_is_not_allowed_takes_no_token(path: Path) -> None:
    key = make(path, "limited", "metrics", rate=0.001)
    keyring = Keyring(path, Clock())
    for _ in range(3):
        with pytest.raises(Forbidden):
            keyring.admit(key, "infer")
    keyring.admit(key, "metrics")


@given(
    st.floats(0.01, 1000),
    st.integers(1, 50),
    st.lists(st.floats(0, 10), min_size=1, max_size=200),
)
def test_in_no_stretch_of_time_more_is_taken_than_burst_and_rate_allow(
    rate: float, burst: int, pauses: list[float]
) -> None:
    bucket = Bucket(rate, burst, 0.0)
    now, taken = 0.0, []
    for pause in pauses:
        now += pause
        if bucket.take(now) == 0.0:
            taken.append(now)
    for first, begin in enumerate(taken):
        for last in range(first, len(taken)):
            most = burst + rate * (taken[last] - begin)
            assert last - first + 1 <= most * (1 + 1e-9) + 1e-6


@given(st.floats(0.01, 1000), st.integers(1, 50))
def test_who_waits_as_long_as_was_said_is_let_in(rate: float, burst: int) -> None:
    bucket = Bucket(rate, burst, 0.0)
    assert [bucket.take(0.0) for _ in range(burst)] == [0.0] * burst
    wait = bucket.take(0.0)
    assert wait > 0
    assert bucket.take(wait * (1 + 1e-9)) == 0.0


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({b"authorization": b"Bearer k"}, b"k"),
        ({b"authorization": b"bearer  k "}, b"k"),
        ({b"x-api-key": b"k"}, b"k"),
        ({b"x-api-key": b"k", b"authorization": b"Bearer other"}, b"k"),
        ({b"authorization": b"Basic k"}, None),
        ({b"authorization": b"Bearer"}, None),
        ({b"authorization": b"k"}, None),
        ({}, None),
    ],
)
def test_where_a_key_is_found(headers: dict[bytes, bytes], key: bytes | None) -> None:
    assert presented(headers) == key
