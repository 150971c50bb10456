"""A model hub on the loopback, that does what it is told: whole files, or one fault after the other."""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

REPOSITORY = "org/repo-GGUF"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Files of one repository. Each entry of `faults` is done to one request for a file, in their order."""

    files: dict[str, bytes]
    faults: list[str] = field(default_factory=list)
    listing_faults: list[str] = field(default_factory=list)
    states_sha256: bool = True
    has_etags: bool = True
    pause: float = 0.0  # seconds between each eight kilobytes
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    sent: int = 0
    address: str = ""
    ended: threading.Event = field(default_factory=threading.Event)

    def listing(self) -> bytes:
        siblings = []
        for path, data in self.files.items():
            lfs = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            siblings.append({"rfilename": path, "size": len(data), **({"lfs": lfs} if self.states_sha256 else {})})
        return json.dumps({"sha": COMMIT, "siblings": siblings, "cardData": {"license": "apache-2.0"}}).encode()

    def asked_for_files(self) -> list[dict[str, str]]:
        return [headers for path, headers in self.requests if "/resolve/" in path or path.startswith("/plain/")]


@contextmanager
def running(hub: Hub, certificate: Path | None = None) -> Iterator[Hub]:
    """Runs until the end. With a certificate (and its key in the same file) it speaks https."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append((path, dict(self.headers)))
            if path.startswith("/api/"):
                fault = hub.listing_faults.pop(0) if hub.listing_faults else ""
                self.answer(hub.listing(), fault)
                return
            if path.startswith("/circle"):
                self.redirect("/circle")
                return
            fault = hub.faults.pop(0) if hub.faults else ""
            name = re.search(r"/(?:resolve/[0-9a-f]{40}|plain)/(.+)", path)
            if name and name[1] in hub.files:
                self.answer(hub.files[name[1]], fault)
            else:
                self.send_error(404)

        def do_CONNECT(self) -> None:
            hub.requests.append((self.path, dict(self.headers)))
            self.send_error(403)

        def redirect(self, place: str) -> None:
            self.send_response(302)
            self.send_header("Location", place)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def answer(self, data: bytes, fault: str) -> None:
            if fault.isdigit():
                self.send_response(int(fault[:3]))
                if len(fault) > 3:
                    self.send_header("Retry-After", str(int(fault[3:])))
                self.end_headers()
                return
            if fault.startswith("to "):
                self.redirect(fault[3:])
                return
            if fault == "html":
                self.begin(200, len(b"<html>Log in"), "text/html")
                self.wfile.write(b"<html>Log in")
                return
            if fault == "other bytes":
                data = data[:-50] + bytes(each ^ 255 for each in data[-50:])
            if fault == "longer":
                data += b"more"
            if fault == "fewer":
                data = data[:-4]
            start = 0
            asked = self.headers.get("Range", "")
            if asked and fault not in ("ignore range",):
                start = int(asked.removeprefix("bytes=").rstrip("-"))
                if start >= len(data):
                    self.send_error(416)
                    return
            piece = data[start:]
            etag = f'"{hashlib.md5(data).hexdigest()}"' if hub.has_etags else ""
            extent = f"bytes {start}-{len(data) - 1}/{len(data)}" if start else ""
            self.begin(206 if start else 200, len(piece), "application/octet-stream", etag, extent)
            if fault in ("drop", "stall"):
                self.write(piece[: len(piece) // 2])
                if fault == "stall":
                    hub.ended.wait(20)
                self.connection.close()
                return
            self.write(piece)

        def begin(self, status: int, length: int, kind: str, etag: str = "", extent: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.send_header("Content-Type", kind)
            if etag:
                self.send_header("ETag", etag)
            if extent:
                self.send_header("Content-Range", extent)
            self.end_headers()

        def write(self, data: bytes) -> None:
            for i in range(0, len(data), 8192):
                hub.sent += len(data[i : i + 8192])  # before: the other side may have them, and end, at once
                self.wfile.write(data[i : i + 8192])
                if hub.pause:
                    time.sleep(hub.pause)
            self.wfile.flush()

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # the other side hung up, as some tests have it do

    server = Server(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    hub.address = f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        hub.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
