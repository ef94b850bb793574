"""`python -m tests.service.api.rpc.messages` writes the modules of `service/api/rpc/proto` anew.

Run it after a change of a `.proto` file; a test compares what it would write with what is there.
"""

import tempfile
from pathlib import Path

from grpc_tools import protoc

PROTO = Path(__file__).parents[4] / "service/api/rpc/proto"

# A process has one default pool, and refuses two files that define the same message. With a pool
# of its own a module can live beside a client's module of the same protocol.
_SHARED, _OWN = "_descriptor_pool.Default()", "_descriptor_pool.DescriptorPool()"


def generate() -> dict[str, str]:
    """The text of every generated file by its name, from the `.proto` files as they are."""
    sources = sorted(path.name for path in PROTO.glob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        options = [f"-I{PROTO}", f"--python_out={folder}", f"--pyi_out={folder}", *sources]
        if code := protoc.main(["protoc", *options]):
            raise SystemExit(code)
        return {path.name: _adapt(path.read_text()) for path in sorted(Path(folder).iterdir())}


def _adapt(text: str) -> str:
    return text.replace(_SHARED, _OWN).rstrip("\n") + "\n"


if __name__ == "__main__":
    for name, text in generate().items():
        (PROTO / name).write_text(text)
