"""kill -9 in the middle of a publish, at every step: what is served is whole, and it goes on."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import training.cli
import training.train
from service.contract import layout
from service.repository.intake import Intake
from service.repository.place import Refusal
from tests.artifacts import edit

# Publishes a copy of a version, and kills itself at one of its steps: before its n-th word to the
# file system, or in the middle of its n-th file. Prints how many versions each attempt left behind.
PUBLISHING = """
import os, resource, shutil, signal, sys
from pathlib import Path
from training import export

models, source = map(Path, sys.argv[1:])
WORDS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "fcntl.flock"}

def write(folder, version):
    for name in ("model.onnx", "golden.npz", "metadata.json"):
        data = (source / name).read_bytes()
        if name == "metadata.json":
            data = data.replace(b'"version": 1', b'"version": %d' % version)
        (folder / name).write_bytes(data)

def kill_before(number):
    left = number
    def hook(event, arguments):
        nonlocal left
        if event in WORDS and str(models) in repr(arguments) + os.getcwd():
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

def kill_within(size):
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

def attempt(kill, number):
    child = os.fork()
    if child == 0:
        kill(number)
        export.publish(models, "tiny", write)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

for kill, numbers in ((kill_before, range(1000)), (kill_within, range(0, 10**9, 1500))):
    for number in numbers:
        code = attempt(kill, number)
        hidden = len(list(models.glob("tiny/.unfinished-*")))
        print(kill.__name__, number, code, hidden, sorted(os.listdir(models / "tiny")), flush=True)
        if code == 0:
            break
        assert code in (-signal.SIGKILL, -signal.SIGXFSZ), code
"""


def test_a_publish_killed_at_any_step_is_never_served_and_hinders_none_after_it(
    tmp_path: Path,
) -> None:
    edit.copy(tmp_path)
    command = [sys.executable, "-c", PUBLISHING, str(tmp_path), str(edit.TINY)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    attempts = [line.split(maxsplit=4) for line in done.stdout.splitlines()]
    assert sum(kill == "kill_before" for kill, *_ in attempts) > 10  # steps that can be killed
    assert sum(kill == "kill_within" for kill, *_ in attempts) > 5
    assert {code for _, _, code, *_ in attempts} == {"-9", "-25", "0"}
    assert {hidden for *_, hidden, _ in attempts} == {"0", "1"}  # the next one takes it away
    versions = layout.versions(tmp_path, "tiny")
    repository = Intake(tmp_path, "cpu").load()
    assert repository.refused == {}
    assert repository.live["tiny"].metadata.version == versions[-1] >= 3
    for version in versions:
        names = {path.name for path in (tmp_path / f"tiny/{version}").iterdir()}
        assert names == {"model.onnx", "golden.npz", "metadata.json"}
        assert not isinstance(Intake(tmp_path, "cpu").open("tiny", version), Refusal)
    assert not list(tmp_path.glob("tiny/.*"))


def test_a_publish_on_a_full_disk_publishes_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    edit.copy(tmp_path)
    code = PUBLISHING.split("for kill,")[0] + (
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))\n"
        "try:\n"
        "    export.publish(models, 'tiny', write)\n"
        "except OSError as error:\n"
        "    print(error.strerror)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(edit.TINY)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout == "File too large\n", done.stderr
    assert [path.name for path in (tmp_path / "tiny").iterdir()] == ["1"]


def test_a_training_that_cannot_write_says_so_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(training.train, "fit", full)
    asked = ["airline", "--models", str(tmp_path)]
    ended = CliRunner().invoke(training.cli.train, asked)
    assert ended.exit_code == 1
    assert ended.output.endswith(
        "Error: nothing is published: [Errno 28] No space left on device\n"
    )
