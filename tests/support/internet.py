"""The internet on this machine: a proxy that serves the hosts it knows itself, over TLS, and reaches no other.

Programs that heed `https_proxy` and trust its authority talk to Slack and PagerDuty by their own addresses, unchanged,
and end here. A host is a function: (method, path, headers, body as bytes) -> (status, headers, body as bytes), or None
to hang up without an answer.
"""

import ssl
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import trustme


class Internet:
    """Where the proxy listens, the file with the authority that signs its hosts' certificates, and the hosts."""

    def __init__(self, hosts, folder):
        self.hosts = hosts
        self.authority = Path(folder) / "authority.pem"
        self._authority, self._contexts = trustme.CA(), {}
        self._authority.cert_pem.write_to_path(self.authority)

    def context(self, host):
        """Return the TLS context of a host, with its certificate."""
        if host not in self._contexts:
            self._contexts[host] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._authority.issue_cert(host).configure_cert(self._contexts[host])
        return self._contexts[host]


@contextmanager
def serving(hosts, folder):
    """Serve hosts, each by its function, until the block ends. Other `hosts` may be set meanwhile."""
    internet = Internet(hosts, folder)

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_CONNECT(self):
            self.host = self.path.partition(":")[0]
            if self.host not in internet.hosts:
                self.send_error(502)
                return
            self.send_response(200)
            self.end_headers()
            self.connection = internet.context(self.host).wrap_socket(self.connection, server_side=True)
            self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", buffering=0)
            self.close_connection = False

        def respond(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = internet.hosts[self.host](self.command, self.path, self.headers, body)
            if answer is None:
                self.close_connection = True
                self.connection.close()
                return
            status, headers, content = answer
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = respond

        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        internet.proxy = f"http://127.0.0.1:{server.server_port}"
        yield internet
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
