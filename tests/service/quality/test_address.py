"""What `--quality` may say."""

import importlib.util
from pathlib import Path

import click
import pytest

from service.quality.address import check_quality, database_url, hidden


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("quality.db", "sqlite:///quality.db"),
        ("/var/q.db", "sqlite:////var/q.db"),
        ("sqlite:////var/q.db", "sqlite:////var/q.db"),
        ("postgresql://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgres://h/d?sslmode=require", "postgresql+psycopg://h/d?sslmode=require"),
    ],
)
def test_a_path_is_a_file_of_sqlite_and_a_url_is_what_it_says(text: str, url: str) -> None:
    assert database_url(text) == url


@pytest.mark.parametrize(
    "text", ["mysql://h/d", "sqlite://", "sqlite:///", "postgresql+pg8000://h"]
)
def test_other_databases_are_refused_in_words(text: str) -> None:
    with pytest.raises(click.ClickException, match="PATH"):
        check_quality(text)


def test_a_folder_that_is_missing_is_refused(tmp_path: Path) -> None:
    check_quality(str(tmp_path / "q.db"))
    with pytest.raises(click.ClickException, match="does not exist"):
        check_quality(str(tmp_path / "nowhere" / "q.db"))


@pytest.mark.parametrize(
    ("text", "missing", "extra"),
    [("q.db", "sqlalchemy", "quality"), ("postgresql://h/d", "psycopg", "postgres")],
)
def test_a_library_that_is_missing_is_named_with_its_extra(
    text: str, missing: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else real(name)
    )
    with pytest.raises(click.ClickException, match=rf"gatecast\[{extra}\]"):
        check_quality(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:secret@h:5432/d", "postgresql://u:***@h:5432/d"),
        ("postgresql://u@h/d?password=secret&x=1", "postgresql://u@h/d?password=***&x=1"),
        ("postgresql://u:se/cr:et@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("/a:b@c/q.db", "/a:b@c/q.db"),
    ],
)
def test_a_password_is_never_shown(text: str, shown: str) -> None:
    assert hidden(text) == shown
