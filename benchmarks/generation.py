"""Tokens per second of texts, alone and together: `python -m benchmarks.generation`.

One server process over HTTP; its model has 28 characters and one layer of 256 units with random
weights, for what they are does not matter. Each caller has a connection of its own and asks for its
next text when it has the last. All that is compared is measured in turn in every round, in another
order in every second one, and the medians count; the client shares the machine.
"""

import argparse
import http.client
import json
import shlex
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.load import LoadFailed, Question
from benchmarks.serving.bench import GATECAST
from benchmarks.serving.figures import Figure, medians, table
from benchmarks.serving.processes import Server, server
from tests.artifacts import babble

NAME = "babble"
HIDDEN = 256
PROMPT = "time traveller"
LENGTH = 200  # tokens of a text
CALLERS = (1, 2, 8, 32)
TEXTS = 160  # of all callers in one measurement; of one alone, an eighth
TARGET = 8.0  # times as many tokens per second with the most callers as alone
PROBE = Question("/health/ready")


def main() -> None:
    """Serve, ask, and print the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.generation")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", default="", help="further flags for `gatecast serve`")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        babble.write(Path(folder), NAME, babble.signature(hidden=HIDDEN))
        command = [GATECAST, "serve", "--models", folder, "--port", "0", "--workers", "1"]
        with server([*command, *shlex.split(given.serve)], PROBE) as running:
            found = [list(_round(running, number)) for number in range(given.rounds)]
    print(table(medians(found)))


def _round(running: Server, number: int) -> Iterator[Figure]:
    order = CALLERS if number % 2 == 0 else CALLERS[::-1]
    for stream, group in ((False, "whole answers"), (True, "server-sent events")):
        rates = {callers: _tokens_per_second(running, callers, stream) for callers in order}
        for callers in CALLERS:
            yield Figure(group, f"{callers} at once: tokens/s", rates[callers])
        for callers in CALLERS[1:]:
            least = TARGET if callers == max(CALLERS) else None
            times = rates[callers] / rates[1]
            yield Figure(group, f"{callers} at once: times one alone", times, at_least=least)


def _tokens_per_second(running: Server, callers: int, stream: bool) -> float:
    """Of all callers together, from the first question to the last answer."""
    texts = max(TEXTS // max(callers, 8), 1)
    with ThreadPoolExecutor(callers) as pool:
        began = time.perf_counter()
        done = [pool.submit(_ask, running, at, texts, stream) for at in range(callers)]
        for one in done:
            one.result()
        seconds = time.perf_counter() - began
    return callers * texts * LENGTH / seconds


def _ask(running: Server, caller: int, texts: int, stream: bool) -> None:
    """So many texts one after the other, each another one.

    Raises:
        LoadFailed: an answer is not a whole text.
    """
    connection = http.client.HTTPConnection(running.host, running.port, timeout=60)
    asked = {"model": NAME, "prompt": PROMPT, "length": LENGTH, "temperature": 0.7}
    for text in range(texts):
        body = asked | {"seed": texts * caller + text, "stream": stream}
        connection.request("POST", "/v1/generate", json.dumps(body))
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200 or b'"tokens":%d' % LENGTH not in content:
            raise LoadFailed(f"{answer.status}: {content[-300:]!r}")
    connection.close()


if __name__ == "__main__":
    main()
