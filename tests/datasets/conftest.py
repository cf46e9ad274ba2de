"""A web server on this machine that misbehaves on request, and an environment without the user's own caches."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

REAL = os.environ.get("CENOTE_DATA", "")


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No variable and no cache of this machine takes part; downloads go to `tmp_path/home`."""
    for name in ("CENOTE_DATA", "CENOTE_OFFLINE", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("CENOTE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    yield
    shutil.rmtree(tmp_path / "home", ignore_errors=True)  # CIFAR-10 leaves 184 MB there


@pytest.fixture
def real(alone, monkeypatch):
    """The folder of real data, named in CENOTE_DATA."""
    if not os.path.isdir(REAL):
        pytest.skip("CENOTE_DATA names no folder of real data")
    monkeypatch.setenv("CENOTE_DATA", REAL)
    return REAL


class Server(ThreadingHTTPServer):
    """`/<manner>/<name>` serves `files[name]` in that manner; `log` holds (path, range asked for, bytes sent)."""

    daemon_threads = True
    block_on_close = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.log: list[list] = []
        self.go_on = threading.Event()

    def add(self, name: str, content: bytes) -> str:
        """Serve the content; its checksum comes back."""
        self.files[name] = content
        return "sha256:" + hashlib.sha256(content).hexdigest()

    def url(self, manner: str, name: str = "file") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{manner}/{name}"

    def asked(self, manner: str) -> list:
        return [entry for entry in self.log if entry[0].startswith(f"/{manner}/")]

    def handle_error(self, request, client_address):
        """A client that hangs up is what these tests are about."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        manner, _, name = self.path[1:].partition("/")
        self.entry = [self.path, self.headers.get("Range"), 0]
        self.server.log.append(self.entry)
        content = self.server.files.get(name, b"")
        start = int(match[1]) if (match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))) else 0
        self.close_connection = True
        getattr(self, f"do_{manner}")(content, start)

    def head(self, status, length=None, **headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.end_headers()

    def body(self, data):
        self.wfile.write(data)
        self.wfile.flush()
        self.entry[2] += len(data)

    def part(self, content, start, end=None):
        """Headers for the asked range, and the body up to `end`."""
        if start > len(content):
            return self.head(416, 0, Content_Range=f"bytes */{len(content)}")
        if start:
            size = len(content)
            self.head(206, size - start, Content_Range=f"bytes {start}-{size - 1}/{size}")
        else:
            self.head(200, len(content))
        self.body(content[start:end])

    def do_ok(self, content, start):
        self.part(content, start)

    def do_norange(self, content, start):
        self.head(200, len(content))
        self.body(content)

    def do_wrongrange(self, content, start):
        if not start:
            return self.part(content, 0)
        self.head(206, len(content) - 1, Content_Range=f"bytes 1-{len(content) - 1}/{len(content)}")
        self.body(content[1:])

    def do_missing(self, content, start):
        self.head(404, 0)

    def do_broken(self, content, start):
        self.head(500, 0)

    def do_flaky(self, content, start):
        if len(self.server.asked("flaky")) == 1:
            return self.head(503, 0)
        self.part(content, start)

    def do_truncated(self, content, start):
        """A third of what was asked for, then a closed connection."""
        self.part(content, start, start + len(content) // 3 + 1)

    def do_short(self, content, start):
        """Always only the first half, whatever was asked for."""
        self.head(200, len(content))
        self.body(content[: len(content) // 2])

    def do_corrupt(self, content, start):
        self.part(content[:-1] + bytes([content[-1] ^ 1]), start)

    def do_silent(self, content, start):
        self.server.go_on.wait(5)

    def do_stalled(self, content, start):
        self.part(content, start, max(start, len(content) // 2))
        self.server.go_on.wait(5)

    def do_drip(self, content, start):
        self.part(content, start, start + 1)
        for at in range(start + 1, len(content)):
            if self.server.go_on.wait(0.02):
                return
            self.body(content[at : at + 1])

    def do_gated(self, content, start):
        """The first half, and the rest when the test says so."""
        middle = max(start, len(content) // 2)
        self.part(content, start, middle)
        self.server.go_on.wait(5)
        self.body(content[middle:])

    def do_chunked(self, content, start):
        self.head(200, Transfer_Encoding="chunked")
        for at in range(0, len(content), 1000):
            piece = content[at : at + 1000]
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def do_huge(self, content, start):
        self.head(200, 10**12)
        self.body(b"x")

    def do_endless(self, content, start):
        self.head(200)
        for _ in range(2000):  # far too much for these tests, and little enough for any disk
            self.body(b"x" * 10_000)

    def do_moved(self, content, start):
        self.head(302, 0, Location="/ok/file")

    def do_loop(self, content, start):
        self.head(302, 0, Location="/loop/file")

    def do_local(self, content, start):
        self.head(302, 0, Location="file:///etc/hostname")


@pytest.fixture
def server():
    """The server, listening on the loopback address only."""
    found = Server()
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield found
    found.go_on.set()
    found.shutdown()
    found.server_close()
    thread.join()
