"""A folder on a small disk, in memory and in a name space of the process's own."""

import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.test_startup import GATECAST

_SCRIPT = """#!/bin/bash
exec unshare --map-root-user --mount bash -c '
  set -e
  kept=$(mktemp -d -p {beside}) && cp -a {folder}/. $kept
  mount -t tmpfs -o size={kib}k none {folder} && cp -a $kept/. {folder}
  {fill}
  {run}' gatecast "$@"
"""
_FILL = "head -c 1M /dev/zero >{folder}/.fill 2>/dev/null || true"
_AFTERWARDS = '{gatecast} "$@" && code=0 || code=$?; cp -a {folder}/. {after}; exit $code'


def gatecast_on_a_small_disk(
    folder: Path, beside: Path, after: Path | None = None, kib: int = 0, read_only: bool = False
) -> str:
    """A command like `gatecast`, for which a folder is on a small disk; skips where none can be.

    Args:
        folder: with what it holds, at most 256 KiB.
        beside: a folder elsewhere, for the command itself.
        after: where to copy what the folder holds at the end; the process is a shell then.
        kib: its room; 0 fills it to the last byte.
        read_only: nobody may write there.
    """
    tried = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", str(folder)]
    try:
        subprocess.run(tried, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a name space with a disk of its own is not allowed here")
    run = f'exec {GATECAST} "$@"'
    if after is not None:
        run = _AFTERWARDS.format(gatecast=GATECAST, folder=folder, after=after)
    command = beside / "gatecast"
    fill = "" if kib else _FILL.format(folder=folder)
    fill = f"mount -o remount,ro {folder}" if read_only else fill
    script = _SCRIPT.format(folder=folder, beside=beside, run=run, kib=kib or 256, fill=fill)
    command.write_text(script)
    command.chmod(0o755)
    return str(command)
