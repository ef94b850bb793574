"""The download of the recipe's text, from a server of the test's own."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from training.language.corpus import InvalidText
from training.recipes import time_machine

TEXT = "Not the book itself, but a text of its kind.\n"


class Quiet(SimpleHTTPRequestHandler):
    """Writes no log."""

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def source(tmp_path: Path) -> Iterator[str]:
    """The address of a text on a real server, which ends with the test."""
    folder = tmp_path / "public"
    folder.mkdir()
    (folder / "text.txt").write_text(TEXT)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/text.txt"
        server.shutdown()
        thread.join()


def checksum(text: str = TEXT) -> str:
    return f"sha1:{hashlib.sha1(text.encode()).hexdigest()}"


def test_the_text_is_downloaded_once_and_kept(source: str, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    path = time_machine.fetch(source, checksum(), folder)
    assert path.read_text() == TEXT
    (tmp_path / "public/text.txt").unlink()
    assert time_machine.fetch(source, checksum(), folder) == path


def test_another_text_at_the_source_is_refused_and_not_kept(source: str, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    with pytest.raises(InvalidText, match="does not match the known hash.*with --data"):
        time_machine.fetch(source, checksum("the text that was meant"), folder)
    assert not list(folder.iterdir())


def test_a_damaged_copy_is_downloaded_again(source: str, tmp_path: Path) -> None:
    path = time_machine.fetch(source, checksum(), tmp_path / "kept")
    path.write_text("damaged")
    assert time_machine.fetch(source, checksum(), tmp_path / "kept").read_text() == TEXT


def test_a_source_that_is_gone_asks_for_a_copy(source: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidText, match="could not be downloaded: .*404.*with --data"):
        time_machine.fetch(source.replace("text.txt", "gone.txt"), checksum(), tmp_path / "kept")


def test_without_a_connection_a_copy_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InvalidText, match="could not be downloaded: .*with --data"):
        time_machine.fetch("http://127.0.0.1:9/text.txt", checksum(), tmp_path / "kept")


def test_a_copy_needs_no_connection(tmp_path: Path) -> None:
    copy = tmp_path / "copy.txt"
    copy.write_text(TEXT)
    assert time_machine.load(copy) == TEXT


def test_the_known_checksum_is_that_of_sha1() -> None:
    algorithm, digest = time_machine.CHECKSUM.split(":")
    assert algorithm == "sha1"
    assert len(bytes.fromhex(digest)) == hashlib.sha1().digest_size
