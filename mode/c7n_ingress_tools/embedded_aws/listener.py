"""A loopback port: of the embedded AWS, and of Lambda's Runtime API for a function's process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from werkzeug.datastructures import Headers

Answer = Callable[[str, str, list[tuple[str, str]], bytes], tuple[int, Headers, bytes]]
"""Returns status, headers and body for a request's method, URL, headers and body."""


class Listener(ThreadingHTTPServer):
    """Listens on a free port, and answers each request.

    Connections stay open between requests, as AWS's do. werkzeug's server, which moto uses, closes each one after its
    answer, and makes a call take half as long again.
    """

    daemon_threads = True
    request_queue_size = 128  # many clients may connect at once

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        self._serving = Thread(target=partial(self.serve_forever, poll_interval=0.05), daemon=True)

    def start(self) -> None:
        """Serve in a thread."""
        self._serving.start()

    def close(self) -> None:
        """Stop serving."""
        self.shutdown()
        self.server_close()
        self._serving.join()


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: Listener
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer is sent as a whole
    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Answer until the client closes the connection, at any time. Half a request is ignored."""
        with suppress(ConnectionError):
            super().handle()

    def do_POST(self) -> None:
        """Answer a request of any method."""
        if "Transfer-Encoding" in self.headers:  # as S3: error MissingContentLength
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
            return
        length = int(self.headers.get("Content-Length", 0))
        request = self.rfile.read(length)
        if len(request) < length:
            raise ConnectionAbortedError
        url = self.server.endpoint + self.path
        status, headers, body = self.server.answer(self.command, url, self.headers.items(), request)
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_PATCH = do_DELETE = do_POST  # noqa: N815 - the names that http.server looks for

    def log_message(self, *_args: object) -> None:
        """Log nothing: the recorder lists the calls."""
