"""TLS by certificate files: HTTPS and gRPC, alone and with several workers, and who is refused."""

import json
import socket
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import httpx
import pytest
import trustme

from tests.conftest import ARTIFACTS
from tests.end_to_end.processes import eventually
from tests.end_to_end.rpc_client import infer, message
from tests.end_to_end.server import ServerProcess, serving
from tests.end_to_end.test_startup import REQUEST, refusal


class Authority:
    """An authority of our own, and a certificate of it for the loopback address, as files."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1", "localhost")
        self.root = authority.cert_pem.bytes()
        self.certificate, self.key = folder / "cert.pem", folder / "key.pem"
        for number, part in enumerate(issued.cert_chain_pems):
            part.write_to_path(str(self.certificate), append=number > 0)
        issued.private_key_pem.write_to_path(str(self.key))
        self.flags = ("--tls-certificate", str(self.certificate), "--tls-key", str(self.key))
        self.context = ssl.create_default_context()
        authority.configure_trust(self.context)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module", params=["1", "2"])
def secured(authority: Authority, request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    flags = (*authority.flags, "--workers", str(request.param))
    with serving(ARTIFACTS, *flags, grpc_port=0) as running:
        yield running
        running.terminate()
        assert running.wait() == 0, running.log


def connect(server: ServerProcess) -> socket.socket:
    host, port = server.url.removeprefix("https://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def test_a_forecast_comes_over_tls_and_from_nobody_else(
    secured: ServerProcess, authority: Authority
) -> None:
    assert secured.url.startswith("https://")
    with httpx.Client(base_url=secured.url, verify=authority.context, trust_env=False) as http:
        for _ in range(3):
            answer = http.post("/v1/forecast", json=REQUEST)
            assert answer.status_code == 200
        assert http.get("/health/ready").status_code == 200
    with (
        httpx.Client(base_url=secured.url, trust_env=False) as http,
        pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        http.get("/health/live")


def test_another_client_agrees(secured: ServerProcess, authority: Authority) -> None:
    opened = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=authority.context)
    )
    with opened.open(f"{secured.url}/v1/models", timeout=60) as answer:
        assert [model["name"] for model in json.load(answer)["models"]] == ["tiny"]


def test_plain_http_gets_no_answer_and_hinders_nobody(
    secured: ServerProcess, authority: Authority
) -> None:
    with connect(secured) as plain:
        plain.sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n")
        with suppress(ConnectionError):
            assert b"HTTP/1.1" not in plain.recv(1000)
    with (
        connect(secured) as raw,
        authority.context.wrap_socket(raw, server_hostname="127.0.0.1") as wrapped,
    ):
        assert wrapped.version() in ("TLSv1.2", "TLSv1.3")
        wrapped.sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n")
        assert wrapped.recv(1000).startswith(b"HTTP/1.1 200")
    assert "Traceback" not in secured.log


def test_grpc_speaks_tls_with_the_same_certificate(
    secured: ServerProcess, authority: Authority
) -> None:
    alone = [("grpc.use_local_subchannel_pool", 1)]
    trusting = grpc.ssl_channel_credentials(authority.root)
    with grpc.secure_channel(secured.rpc, trusting, alone) as opened:
        assert infer(opened)(message(), timeout=60).model_name == "tiny"
    with grpc.insecure_channel(secured.rpc, alone) as opened, pytest.raises(grpc.RpcError):
        infer(opened)(message(), timeout=10)


def test_a_handshake_that_does_not_end_is_given_up(authority: Authority) -> None:
    with serving(ARTIFACTS, *authority.flags, head_timeout_s=0.2) as server:
        half = [connect(server) for _ in range(20)]
        for one in half:
            one.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        for one in half:
            assert _ends(one)
        with httpx.Client(base_url=server.url, verify=authority.context, trust_env=False) as http:
            assert http.get("/health/live").status_code == 200
        server.terminate()
        assert server.wait() == 0


def test_half_handshakes_take_no_more_places_than_there_are(authority: Authority) -> None:
    with serving(ARTIFACTS, *authority.flags, max_connections=5, head_timeout_s=60) as server:
        half = [connect(server) for _ in range(5)]
        assert _ends(connect(server))
        half.pop().close()

        def served() -> bool:
            with connect(server) as raw:
                try:
                    with authority.context.wrap_socket(raw, server_hostname="127.0.0.1") as one:
                        one.sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n")
                        return one.recv(1000).startswith(b"HTTP/1.1 200")
                except OSError:
                    return False

        assert eventually(served)
        for one in half:
            one.close()


def _ends(connection: socket.socket) -> bool:
    with connection:
        try:
            while connection.recv(1000):
                pass
        except ConnectionError:
            pass
        return True


def test_files_that_are_no_pair_are_refused_at_the_start(
    authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path)
    assert "go together" in refusal("--tls-certificate", str(authority.certificate))
    assert "go together" in refusal("--tls-key", str(authority.key))
    for certificate, key in (
        (authority.certificate, other.key),
        (authority.key, authority.key),
        (tmp_path / "nowhere.pem", authority.key),
    ):
        line = refusal("--tls-certificate", str(certificate), "--tls-key", str(key))
        assert str(certificate) in line
        assert "expected two PEM files that belong together" in line
