"""A real S3 server in this process, on the loopback address, with faults on its way to the caller.

moto keeps the objects; boto3 puts them there, as any tool of a user would. What passes is written
down, so that a test can say what was loaded.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

BUCKET = "bucket"
FILES = ("golden.npz", "metadata.json", "model.onnx")
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "somebody",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "us-east-1",
}
_REFUSAL = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>%s</Message></Error>"

Start = Callable[..., Any]


class _Silent(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        pass


class S3:
    """One bucket; `url` names a prefix in it."""

    def __init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server: BaseWSGIServer | None = None
        self._port = 0
        self.prefix = "models"
        self.asked: list[str] = []  # "GET path", of each request
        self.listing: Callable[[bytes], bytes] = bytes  # what becomes of a listing
        self.spoilt = ""  # objects whose path ends so come with other bytes
        self.refusing: tuple[bytes, bytes] | None = None  # code and message of a 403
        self.hanging = threading.Event()  # set: nobody is answered
        self.released = threading.Event()  # lets go of those who hang
        self.up()
        self.client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id="somebody",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )
        self.client.create_bucket(Bucket=BUCKET)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        return f"s3://{BUCKET}/{self.prefix}"

    @property
    def environment(self) -> dict[str, str]:
        """What a machine has that may use the store."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": self.endpoint}

    def up(self) -> None:
        self._server = make_server(
            "127.0.0.1", self._port, self._answer, threaded=True, request_handler=_Silent
        )
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def down(self) -> None:
        """Nobody listens any more."""
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def being_down(self) -> Iterator[None]:
        self.down()
        try:
            yield
        finally:
            self.up()

    def begin(self, prefix: str) -> None:
        """What is said from now on is below a prefix of a test's own."""
        self.prefix, self.asked = prefix, []

    def hang(self) -> None:
        """Take requests and answer none."""
        self.released.clear()
        self.hanging.set()

    def mend(self) -> None:
        """No more faults."""
        self.spoilt, self.refusing, self.listing = "", None, bytes
        self.hanging.clear()
        self.released.set()

    def upload(self, folder: Path, files: Iterable[str] = FILES) -> None:
        """Put the files of a version's folder there."""
        for file in files:
            self.put(f"{folder.parent.name}/{folder.name}/{file}", (folder / file).read_bytes())

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=f"{self.prefix}/{key}", Body=data)

    def read(self, key: str) -> bytes:
        found = self.client.get_object(Bucket=BUCKET, Key=f"{self.prefix}/{key}")
        data: bytes = found["Body"].read()
        return data

    def keys(self, under: str = "") -> list[str]:
        """The names of objects below the prefix."""
        prefix = f"{self.prefix}/"
        found = self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix + under)
        return [one["Key"].removeprefix(prefix) for one in found.get("Contents", [])]

    def delete(self, under: str = "") -> None:
        for key in self.keys(under):
            self.client.delete_object(Bucket=BUCKET, Key=f"{self.prefix}/{key}")

    def loads(self) -> list[str]:
        """The objects that were read since this was asked last."""
        asked, self.asked = self.asked, []
        start = f"GET /{BUCKET}/{self.prefix}/"
        return [one.removeprefix(start) for one in asked if one.startswith(start)]

    def _answer(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        self.asked.append(f"{environ['REQUEST_METHOD']} {path}")
        if self.hanging.is_set():
            self.released.wait(60)
        if self.refusing is not None:
            start("403 Forbidden", [("Content-Type", "application/xml")])
            return [_REFUSAL % self.refusing]
        if "list-type" in environ["QUERY_STRING"]:
            return self._list(environ, start)
        body = self._app(environ, start)
        if self.spoilt and path.endswith(self.spoilt) and environ["REQUEST_METHOD"] == "GET":
            return [bytes(byte ^ 1 for byte in chunk) for chunk in body]
        return list(body)

    def _list(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        began: list[Any] = []
        body = b"".join(self._app(environ, lambda *said: began.extend(said)))
        found = self.listing(body)
        start(began[0], [(k, v) for k, v in began[1] if k.lower() != "content-length"])
        return [found]
