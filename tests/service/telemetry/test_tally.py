"""Several tallies of one folder are one: their sums, and what stays of one that is dead."""

import math
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

from service.telemetry.tally import BLOCK, Key, Over, Tally

COUNTING = """
import sys
from pathlib import Path
from service.telemetry.tally import Over, Tally

tally = Tally(Path(sys.argv[1]))
tally.cells(("answers", "200"))[0] += 5
tally.cells(("waiting",), over=Over.LIVING)[0] = 3
tally.cells(("last",), over=Over.LARGEST)[0] = 70
print("counted", flush=True)
sys.stdin.read()
"""


def test_without_a_folder_the_numbers_are_those_of_the_process() -> None:
    tally = Tally(None)
    assert tally.totals() == {}
    tally.cells(("answers", "200"))[0] += 2
    tally.cells(("answers", "200"))[0] += 1
    tally.cells(("times",), 3)[1] += 0.25
    assert tally.totals() == {("answers", "200"): [3.0], ("times",): [0.0, 0.25, 0.0]}


def test_nothing_is_written_before_something_is_counted(tmp_path: Path) -> None:
    tally = Tally(tmp_path)
    assert tally.totals() == {}
    assert list(tmp_path.iterdir()) == []


def test_every_worker_reads_the_sums_over_all_at_once(tmp_path: Path) -> None:
    first, second, idle = Tally(tmp_path), Tally(tmp_path), Tally(tmp_path)
    first.cells(("answers", "200"))[0] += 2
    second.cells(("answers", "200"))[0] += 3
    second.cells(("answers", "429"))[0] += 1
    expected = {("answers", "200"): [5.0], ("answers", "429"): [1.0]}
    assert first.totals() == second.totals() == idle.totals() == expected
    first.cells(("answers", "200"))[0] += 1
    assert second.totals()["answers", "200"] == [6.0]


def test_a_present_value_is_summed_and_a_largest_one_is_not(tmp_path: Path) -> None:
    for value in (4.0, 7.0, 5.0):
        tally = Tally(tmp_path)
        tally.cells(("waiting",), over=Over.LIVING)[0] = value
        tally.cells(("last",), over=Over.LARGEST)[0] = value
    assert Tally(tmp_path).totals() == {("waiting",): [16.0], ("last",): [7.0]}


def test_the_largest_of_values_below_zero_or_undefined_is_not_zero(tmp_path: Path) -> None:
    for value in (-3.0, -2.0):
        tally = Tally(tmp_path)
        tally.cells(("drift",), over=Over.LARGEST)[0] = value
        tally.cells(("mase",), over=Over.LARGEST)[0] = math.nan
    found = tally.totals()
    assert found["drift",] == [-2.0]
    assert math.isnan(found["mase",][0])


def test_a_killed_worker_leaves_its_counts_and_takes_its_present_with_it(tmp_path: Path) -> None:
    own = Tally(tmp_path)
    own.cells(("answers", "200"))[0] += 1
    own.cells(("waiting",), over=Over.LIVING)[0] = 2
    own.cells(("last",), over=Over.LARGEST)[0] = 60
    command = [sys.executable, "-c", COUNTING, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"counted\n"
        assert own.totals() == {("answers", "200"): [6.0], ("waiting",): [5.0], ("last",): [70.0]}
        other.kill()
    assert own.totals() == {("answers", "200"): [6.0], ("waiting",): [2.0], ("last",): [70.0]}


def test_more_keys_than_a_block_holds_keep_their_own_cells(tmp_path: Path) -> None:
    tallies = [Tally(None), Tally(tmp_path)]
    chance = random.Random(5)
    keys: list[Key] = [("times", "a" * chance.randrange(90), str(number)) for number in range(2000)]
    cells = {key: chance.randrange(1, 30) for key in keys}
    assert sum(8 * count for count in cells.values()) > 3 * BLOCK
    for tally in tallies:
        counted: Counter[Key] = Counter()
        for key in chance.choices(keys, k=20_000):
            tally.cells(key, cells[key])[-1] += 1
            counted[key] += 1
        totals = tally.totals()
        assert totals == {key: [0.0] * (cells[key] - 1) + [counted[key]] for key in counted}


def test_any_text_can_be_a_label() -> None:
    tally = Tally(None)
    keys = [("answers", label) for label in ("", "å\n", '"\\', "1.5", "\x00", "列")]
    for key in keys:
        tally.cells(key)[0] += 1
    assert tally.totals() == {key: [1.0] for key in keys}


def test_what_finds_no_room_on_the_disk_is_counted_all_the_same(tmp_path: Path) -> None:
    """A disk that is full in the middle of a block, and not one that was full before."""
    code = (
        "import resource, sys\nfrom pathlib import Path\n"
        "from service.telemetry.tally import BLOCK, Tally\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (BLOCK * 3 // 2,) * 2)\n"
        "tally = Tally(Path(sys.argv[1]))\n"
        "for number in range(5000):\n"
        "    tally.cells(('counter', str(number)))[0] += number\n"
        "assert sum(cells[0] for cells in tally.totals().values()) == sum(range(5000))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "metrics cannot be written" in done.stderr
    (file,) = tmp_path.glob("*.tally")
    assert file.stat().st_size == BLOCK
    others = Tally(tmp_path).totals()
    assert 0 < len(others) < 5000
    assert all(cells == [float(key[1])] for key, cells in others.items())
