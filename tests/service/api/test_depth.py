"""The depth of a body, against one counted from the parsed JSON."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api import depth
from service.api.depth import check_depth
from service.errors import Malformed

TEXTS = st.text(alphabet='ab[]{}"\\\u00e9\n')
VALUES = st.recursive(
    st.none() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=60,
)


def counted(value: Any) -> int:
    if not isinstance(value, list | dict):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(counted, inner), default=0)


def is_refused(body: bytes, deepest: int) -> bool:
    try:
        asyncio.run(check_depth(body, deepest))
    except Malformed:
        return True
    return False


@given(VALUES, st.integers(0, 6), st.booleans(), st.booleans())
def test_a_body_is_as_deep_as_its_lists_and_objects(
    value: Any, deepest: int, is_ascii: bool, is_wide: bool
) -> None:
    body = json.dumps(value, ensure_ascii=is_ascii, indent=2 if is_wide else None).encode()
    assert is_refused(body, deepest) == (counted(value) > deepest)


@given(VALUES, st.integers(0, 6))
def test_where_a_body_is_cut_does_not_matter(value: Any, deepest: int) -> None:
    body = json.dumps([value, "ab[]" * 3]).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(depth, "_PIECE", 5)
        assert is_refused(body, deepest) == (counted([value]) > deepest)


@given(st.binary())
def test_bytes_of_any_kind_are_no_error_but_too_deep_at_most(body: bytes) -> None:
    is_refused(body, 2)


def test_the_message_says_how_deep_and_what_is_allowed() -> None:
    with pytest.raises(Malformed, match="nested 1000 deep, the limit is 64"):
        asyncio.run(check_depth(b" \n" + b"[" * 1000 + b"]" * 1000, 64))


def test_what_is_not_json_has_no_depth() -> None:
    assert not is_refused(b"ARROW1" + b"[" * 1000, 64)
