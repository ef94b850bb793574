"""One connection, below HTTP: a limit for the head of a request, and our own words for bad HTTP.

uvicorn keeps whatever a client sends before its body, however much that is, and answers what is not
HTTP as plain text that no metric counts. Here both become errors like all others.
"""

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service import metrics
from service.api.responses import error_response
from service.drain import DrainingProtocol
from service.errors import Malformed, ServiceError, TooLarge

LARGEST_HEAD = 65536  # bytes of a request line and its headers; one more read may be held


class Connection(DrainingProtocol):
    """uvicorn's HTTP protocol, draining, with a limit and with errors in JSON."""

    _head: int | None = None  # bytes of a head that has begun and not ended

    def data_received(self, data: bytes) -> None:
        """Feed the parser; refuse a head that grows beyond the limit."""
        super().data_received(data)
        if self._head is not None and not self.transport.is_closing():
            self._head += len(data)
            if self._head > LARGEST_HEAD:
                message = f"the head of the request has more than {LARGEST_HEAD} bytes; shorten it"
                self._refuse(TooLarge(message))

    def on_message_begin(self) -> None:
        """A head begins."""
        self._head = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; those after a chunked body are read by nobody."""
        if self._head is not None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head has ended."""
        self._head = None
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn where the bytes are not HTTP."""
        self._refuse(Malformed("this is not an HTTP/1.1 request; speak HTTP/1.1 and not TLS"))

    def _refuse(self, error: ServiceError) -> None:
        """Answer outside of any exchange, and hang up."""
        metrics.requests.labels("unknown", str(error.status)).inc()
        response = error_response(error)
        headers = [*response.raw_headers, (b"connection", b"close")]
        lines = [STATUS_LINE[error.status], *(n + b": " + v + b"\r\n" for n, v in headers)]
        self.transport.write(b"".join(lines) + b"\r\n" + bytes(response.body))
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """No line in the log for each: `read_body` tells the client where it matters."""
