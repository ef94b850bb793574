"""A light HTTP load: wrk, which asks prebuilt questions in rotation and waits for each answer.

wrk counts statuses and bytes itself. A Lua callback for each answer would tell more, and would copy
every answer for it; instead the questions are asked once beforehand by whoever measures, and the
bytes of an average answer must not fall behind what came then.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

LEAST_BYTES = 0.8  # of an answer seen beforehand; numbers and timings differ in their digits

_SCRIPT = """
local asked, at = {}, 0
function init()
  for _, q in ipairs(questions) do
    local body = nil
    if q.file then
      local file = assert(io.open(q.file, "rb"))
      body = file:read("*a")
      file:close()
    end
    asked[#asked + 1] = wrk.format(q.method, q.path, q.headers, body)
  end
end
function request()
  at = at % #asked + 1
  return asked[at]
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"us": %d, "requests": %d, "bytes": %d, "statuses": %d, "broken": %d, "timeouts": %d, ' ..
    '"p50_us": %d, "p99_us": %d, "max_us": %d}\\n',
    summary.duration, summary.requests, summary.bytes, e.status, e.connect + e.read + e.write,
    e.timeout, latency:percentile(50), latency:percentile(99), latency.max))
end
"""


@dataclass(frozen=True)
class Question:
    """One HTTP request; a POST where it has a body."""

    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """GET or POST."""
        return "POST" if self.body else "GET"

    def wire(self, host: str, **headers: str) -> bytes:
        """The bytes of the request; an underscore in the name of a header stands for a hyphen."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{self.method} {self.path} HTTP/1.1", f"host: {host}"]
        lines += [f"{name}: {value}" for name, value in {**self.headers, **more}.items()]
        lines += [f"content-length: {len(self.body)}", "", ""]
        return "\r\n".join(lines).encode() + self.body


@dataclass(frozen=True)
class Load:
    """What a load came to."""

    rate: float  # answers per second
    p50_ms: float
    p99_ms: float


class LoadFailed(RuntimeError):
    """The load was not answered as it must be, so its speed means nothing."""


def measure(
    url: str, questions: Sequence[Question], connections: int, seconds: int, answer: float = 0
) -> Load:
    """Ask from so many connections at once, each sending when it has its answer.

    Args:
        answer: bytes of an average answer with its head, as seen beforehand.

    Raises:
        LoadFailed: wrk is missing, a status other than 2xx, a broken connection, or short answers.
    """
    with tempfile.TemporaryDirectory() as folder:
        script = _written(questions, Path(folder))
        command = [_wrk(), "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url]
        done = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"us"')]
    if not lines:
        raise LoadFailed(f"wrk ended with {done.returncode}: {done.stdout}{done.stderr}")
    return read(lines[-1], answer)


def read(line: str, answer: float = 0) -> Load:
    """The line that the script prints when it is done.

    Raises:
        LoadFailed: see `measure`.
    """
    told: dict[str, int] = json.loads(line)
    for what in ("statuses", "broken", "timeouts"):
        if told[what]:
            raise LoadFailed(f"{told[what]} of {told['requests']} requests failed: {what}")
    if not told["requests"] or told["bytes"] < LEAST_BYTES * answer * told["requests"]:
        raise LoadFailed(f"answers of {answer:.0f} bytes were expected, got {told}")
    rate = told["requests"] / told["us"] * 1e6
    return Load(rate, told["p50_us"] / 1e3, told["p99_us"] / 1e3)


def _written(questions: Sequence[Question], folder: Path) -> Path:
    """The script; bodies lie beside it, because they need not be text."""
    rows = []
    for at, question in enumerate(questions):
        (body := folder / f"{at}.body").write_bytes(question.body)
        headers = ", ".join(f"[{_lua(k)}] = {_lua(v)}" for k, v in question.headers.items())
        file = f", file = {_lua(str(body))}" if question.body else ""
        rows.append(
            f"{{method = {_lua(question.method)}, path = {_lua(question.path)}, "
            f"headers = {{{headers}}}{file}}}"
        )
    script = folder / "rotate.lua"
    script.write_text(f"local questions = {{{', '.join(rows)}}}\n{_SCRIPT}")
    return script


def _lua(text: str) -> str:
    return json.dumps(text)  # plain ASCII: the same in both languages


def _wrk() -> str:
    found = os.environ.get("WRK") or shutil.which("wrk")
    if not found:
        raise LoadFailed("wrk is not on PATH; `apt-get install wrk`, or set WRK to its path")
    return found
