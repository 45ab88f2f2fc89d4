"""A small JSON server: named routes, checked queries, bounded requests. For demonstrations on one machine.

    GET /path?name=value → 200 with JSON, 400 and 404 with {"error": one line}, 405 for anything but GET and HEAD

Connections are kept alive and limited in number. A request must arrive within ``IDLE_SECONDS`` as a whole, however
slowly its bytes come; where there are too many connections, the one that has kept the server waiting longest is closed.
There is no authentication and no encryption: it listens on the loopback interface unless told otherwise.
"""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from twotower.core.errors import InputError
from twotower.core.serialisation import plain

MOST_CONNECTIONS = 128
LONGEST_TARGET = 4096  # characters of path and query
MOST_FIELDS = 32
IDLE_SECONDS = 30.0
HTML = "text/html; charset=utf-8"


class Query:
    """The fields of a request, each asked for by name; what is wrong is an InputError with one line."""

    def __init__(self, fields: Mapping[str, str]):
        self.fields = fields

    def text(self, name: str) -> str:
        """A field that must be there."""
        if not self.fields.get(name):
            raise InputError(f"{name} is missing: expected ?{name}=…")
        return self.fields[name]

    def optional(self, name: str) -> str | None:
        """A field, None where it is missing or empty."""
        return self.fields.get(name) or None

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number in a range."""
        text = self.fields.get(name) or str(default)
        value = int(text) if text.lstrip("-").isascii() and text.lstrip("-").isdigit() and len(text) < 10 else None
        if value is None or not low <= value <= high:
            raise InputError(f"{name}={text[:40]}: expected a whole number from {low} to {high}")
        return value


Route = Callable[[Query], object]  # a JSON value, or a page as ``Page``


class Page(str):
    """HTML instead of JSON."""


def json_line(value: object) -> str:
    """Records as JSON, what it lacks as null."""
    try:
        return json.dumps(value, allow_nan=False, default=plain)
    except ValueError:  # not a number, or infinite: rare, and looking for them takes longer than the rest
        return json.dumps(plain(value), allow_nan=False)


class JsonServer(ThreadingHTTPServer):
    """Serves ``routes`` by their paths."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, host: str, port: int, routes: Mapping[str, Route]):
        """Port 0 takes any that is free. Errors: InputError when the address cannot be used."""
        self.routes, self.slots = routes, threading.BoundedSemaphore(MOST_CONNECTIONS)
        self.waiting: dict[socket.socket, float] = {}  # connections whose next request is not complete, since when
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"cannot listen on {host} port {port} ({reason}); see --host and --port") from None

    def process_request(self, request: Any, client_address: Any) -> None:
        while not self.slots.acquire(timeout=0.1):
            self._close_waiting(sorted(self.waiting.copy().items(), key=lambda item: item[1])[:1])
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Called between two connections, at least every half second."""
        late = time.monotonic() - IDLE_SECONDS
        self._close_waiting([item for item in self.waiting.copy().items() if item[1] < late])

    def _close_waiting(self, connections: list[tuple[socket.socket, float]]) -> None:
        for connection, _ in connections:
            with suppress(OSError):  # it has ended meanwhile
                connection.shutdown(socket.SHUT_RDWR)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        logging.getLogger(__name__).debug("connection ended", exc_info=True)  # a client that went away

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        name = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{name}:{port}/"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: JsonServer
    protocol_version = "HTTP/1.1"  # keep-alive
    server_version, sys_version = "twotower", ""
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        self.server.waiting[self.connection] = time.monotonic()
        try:
            super().handle_one_request()
        finally:
            self.server.waiting.pop(self.connection, None)

    def parse_request(self) -> bool:
        complete = super().parse_request()
        self.server.waiting.pop(self.connection, None)
        return complete

    def do_GET(self) -> None:
        status, body = self._answer()
        kind, text = (HTML, str(body)) if isinstance(body, Page) else ("application/json", json_line(body))
        self._send(status, kind, text.encode())

    do_HEAD = do_GET

    def _answer(self) -> tuple[HTTPStatus, Any]:
        try:
            if len(self.path) > LONGEST_TARGET:
                return HTTPStatus.REQUEST_URI_TOO_LONG, {"error": f"longer than {LONGEST_TARGET} characters"}
            if int(self.headers.get("Content-Length") or 0) or "Transfer-Encoding" in self.headers:
                self.close_connection = True
                return HTTPStatus.BAD_REQUEST, {"error": "a request with a body: expected fields in the query"}
            parts = urlsplit(self.path)
            route = self.server.routes.get(parts.path)
            if route is None:
                expected = ", ".join(self.server.routes)
                return HTTPStatus.NOT_FOUND, {"error": f"no {parts.path[:80]}: expected one of {expected}"}
            fields = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
            found = route(Query(dict(fields)))
            return HTTPStatus.OK, found
        except (InputError, ValueError) as error:  # ValueError: of a malformed query
            return HTTPStatus.BAD_REQUEST, {"error": " ".join(str(error).split())}
        except Exception:
            logging.getLogger(__name__).exception("request failed")
            return HTTPStatus.INTERNAL_SERVER_ERROR, {"error": "internal error"}

    def _send(self, status: HTTPStatus, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.close_connection:
            self.send_header("Connection", "close")
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Errors of the protocol as JSON, too."""
        self.close_connection = True
        status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code)
        if self.request_version == "HTTP/0.9":
            return
        self._send(status, "application/json", json.dumps({"error": message or status.phrase}).encode())

    def log_message(self, format: str, *args: Any) -> None:
        logging.getLogger(__name__).debug(format, *args)
