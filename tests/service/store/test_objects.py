"""A store that cannot be spoken to says why, in bounded time, and never shows a secret."""

import builtins
from typing import Any

import pytest

from service.store import objects
from service.store.objects import BadStore, Objects, StoreFailed
from tests.end_to_end.s3 import S3


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:///models",
        "s3://bucket//models",
        "s3://bucket/../other",
        "s3://bucket/./models",
        "s3://key:secret@bucket/models",
        "s3://bucket/models?region=x",
        "s3://bucket/models\n",
        "http://bucket/models",
        "file:///models",
        "ftp://bucket/models",
        "S3://bucket/models",
    ],
)
def test_what_is_no_url_of_a_store_is_refused_with_what_is(url: str) -> None:
    with pytest.raises(BadStore, match="s3://bucket/prefix") as refused:
        Objects(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["s3://bucket", "gs://bucket/", "az://container/a/b_c/", "s3://b.c/d"]
)
def test_urls_of_stores(url: str) -> None:
    assert objects.check_url(url) == url.rstrip("/")


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("obstore"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BadStore, match=r"pip install 'gatecast\[store\]'"):
        Objects("s3://bucket/models")


def test_a_bucket_that_is_not_there_and_a_refused_key_are_said(s3: S3) -> None:
    with pytest.raises(StoreFailed, match="s3://nobodys/x cannot be listed: 404 Not Found: NoSuch"):
        Objects("s3://nobodys/x").all()
    s3.refusing = (b"InvalidAccessKeyId", b"not in our records")
    with pytest.raises(StoreFailed, match="not in our records") as refused:
        Objects(s3.url).all()
    assert "\n" not in refused.value.message
    assert len(refused.value.message) < 500


def test_a_machine_without_credentials_is_told_so() -> None:
    asked = "Error performing PUT http://169.254.169.254/latest/api/token: error sending request"
    told = objects.said(OSError(f"{asked}\n\nDebug source:\nGeneric {{}}"))
    assert told.startswith("no credentials in the environment, ")
    assert told.endswith("error sending request")


def test_a_store_that_hangs_is_given_up(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "ANSWER_S", 0.2)
    one = Objects(s3.url)
    s3.hang()
    with pytest.raises(StoreFailed, match="cannot be listed"):
        one.all()


def test_a_bucket_of_something_else_is_not_walked_through(
    s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "MOST_OBJECTS", 3)
    for number in range(4):
        s3.put(f"photos/{number}", b"x")
    with pytest.raises(StoreFailed, match="more than 3 objects"):
        Objects(s3.url).all()


def test_an_object_replaced_after_the_listing_is_not_read(s3: S3) -> None:
    s3.put("tiny/1/model.onnx", b"one")
    one = Objects(s3.url)
    (listed,) = one.all()
    s3.put("tiny/1/model.onnx", b"two")
    with pytest.raises(objects.Changed):
        list(one.stream(listed))
    s3.delete()
    with pytest.raises(objects.Changed):
        list(one.stream(listed))
