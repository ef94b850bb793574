"""The file of keys: what is written in it, what is refused, and that no secret is."""

import hashlib
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access.keys import InvalidKeys, changing, is_same, new_key, parse, split


def parts(text: str) -> tuple[bytes, bytes]:
    found = split(text.encode())
    assert found is not None
    return found


def test_a_key_opens_what_its_line_says_and_its_secret_is_nowhere_in_it() -> None:
    key, text = new_key("app", ["infer", "metrics", "infer"], rate=2.5)
    identifier, secret = parts(text)
    line = key.model_dump_json()
    assert identifier.decode() == key.id
    assert len(bytes.fromhex(secret.decode())) == 32
    assert secret.decode() not in line
    assert json.loads(line)["hash"] == hashlib.sha256(bytes.fromhex(key.salt) + secret).hexdigest()
    assert (key.scopes, key.rate, key.burst) == (("infer", "metrics"), 2.5, 2)


def test_two_keys_have_nothing_in_common() -> None:
    (one, text), (other, another) = new_key("a", ["infer"]), new_key("a", ["infer"])
    assert not {one.id, one.salt, one.hash} & {other.id, other.salt, other.hash}
    assert parts(text)[1] != parts(another)[1]


@given(st.binary(max_size=100))
def test_no_other_secret_is_the_same(other: bytes) -> None:
    key, _ = new_key("app", ["infer"])
    assert not is_same(bytes.fromhex(key.salt), bytes.fromhex(key.hash), other)


@given(st.binary(max_size=100))
def test_what_is_no_key_is_none_and_never_an_error(text: bytes) -> None:
    found = split(text)
    assert found is None or b"_".join((b"gc", *found)) == text


@pytest.mark.parametrize(
    ("name", "scopes", "rate", "burst"),
    [
        ("../x", ["infer"], None, None),
        ("two\nlines", ["infer"], None, None),
        ("", ["infer"], None, None),
        ("a", [], None, None),
        ("a", ["everything"], None, None),
        ("a", ["infer"], 0.0, None),
        ("a", ["infer"], float("inf"), None),
        ("a", ["infer"], float("nan"), None),
        ("a", ["infer"], 1.0, 0),
    ],
)
def test_a_key_that_cannot_be_is_refused(
    name: str, scopes: list[str], rate: float | None, burst: int | None
) -> None:
    with pytest.raises(ValueError):
        new_key(name, scopes, rate, burst)  # type: ignore[arg-type]


def test_empty_lines_and_comments_are_passed_over() -> None:
    key, _ = new_key("app", ["infer"])
    assert parse(f"# ours\n\n{key.model_dump_json()}\n") == [key]


def test_a_line_that_is_no_key_is_named() -> None:
    one, other = (new_key(name, ["infer"], 1.0)[0] for name in "ab")
    good = one.model_dump_json()
    wrong = {
        "line 2: ": f"{good}\nnothing\n",
        "line 2: another key": f"{good}\n{good}",
        "line 1: salt": good.replace(one.salt, one.salt[1:]),
        "line 1: scopes": good.replace('["infer"]', '["inferno"]'),
        "line 1: extra": good.replace('"id"', '"extra":1,"id"'),
        "line 1: rate and burst": good.replace('"rate":1.0', '"rate":null'),
        "line 2: another key has the id or the name of 'a'": good
        + "\n"
        + other.model_copy(update={"name": "a"}).model_dump_json(),
    }
    for said, text in wrong.items():
        with pytest.raises(InvalidKeys) as caught:
            parse(text)
        assert str(caught.value).startswith(said)
        assert one.hash not in str(caught.value)


def test_a_new_file_is_private_and_an_old_one_as_open_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    with changing(path) as keys:
        keys.append(new_key("a", ["infer"])[0])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    with changing(path) as keys:
        keys.append(new_key("b", ["infer"])[0])
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [key.name for key in parse(path.read_text())] == ["a", "b"]
    assert os.listdir(tmp_path) == ["keys.jsonl"]


def test_a_broken_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    path.write_text("nothing\n")
    with pytest.raises(InvalidKeys), changing(path) as keys:
        keys.clear()
    assert path.read_text() == "nothing\n"


def test_a_change_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    with pytest.raises(ZeroDivisionError), changing(path) as keys:
        keys.append(new_key("a" * (1 // 0), ["infer"])[0])
    assert os.listdir(tmp_path) == []


def test_keys_made_at_once_are_all_there(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"

    def add(name: str) -> None:
        with changing(path) as keys:
            keys.append(new_key(name, ["infer"])[0])

    names = [f"k{number}" for number in range(16)]
    with ThreadPoolExecutor(8) as several:
        list(several.map(add, names))
    assert sorted(key.name for key in parse(path.read_text())) == sorted(names)
