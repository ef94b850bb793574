"""The Time Machine by H. G. Wells (1895), in the public domain: the text that "Dive into Deep
Learning" teaches language models with.

It is downloaded once, checked and kept. As there, a model is trained on the first 10 000 characters
of its letters; what it is worth is measured on the end of the book, which it never saw.
"""

from pathlib import Path

import pooch

from training.language.corpus import InvalidText, read

URL = "http://d2l-data.s3-accelerate.amazonaws.com/timemachine.txt"
CHECKSUM = "sha1:090b5e7e70c295757f55df93cb0a180b9691891a"
TOKENS = 10_000  # to train on


def load(path: Path | None = None) -> str:
    """The text, of a copy of one's own or of its public source.

    Raises:
        InvalidText: no such file, not UTF-8, no connection, or another text at the source.
    """
    return read(path or fetch(URL, CHECKSUM, pooch.os_cache("gatecast")))


def fetch(url: str, checksum: str, folder: Path) -> Path:
    """The file, downloaded unless the same lies in the folder already.

    Raises:
        InvalidText: no connection, or another text at the source.
    """
    try:
        return Path(pooch.retrieve(url, checksum, "time-machine.txt", folder))
    except (OSError, ValueError) as error:  # of a connection, of a checksum
        raise InvalidText(
            f"the text could not be downloaded: {error}; give a copy of your own with --data"
        ) from error
