"""A receiver of webhooks as a process of its own, to be killed: python webhook_receiver.py PORT FILE [STATUS...].

It appends every request to FILE as a line of JSON, before it answers. The first requests are answered with the statuses given, the
rest with 204. "429:2" sends Retry-After: 2 with it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections
    file: int
    statuses: list[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        said = {"headers": dict(self.headers), "body": body.decode(), "at": time.time(), "peer": self.client_address[1]}
        os.write(self.file, json.dumps(said).encode() + b"\n")
        status, _, wait_s = (self.statuses.pop(0) if self.statuses else "204").partition(":")
        self.send_response(int(status))
        if wait_s:
            self.send_header("Retry-After", wait_s)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    Receiver.file = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    Receiver.statuses = sys.argv[3:]
    ThreadingHTTPServer.allow_reuse_address = True
    with ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver) as server:
        print("ready", flush=True)
        server.serve_forever()
