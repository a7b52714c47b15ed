"""A real HTTP server of a Motion JPEG stream, as cameras have one, over `http.server`.

`with MjpegServer(fps=15) as server: open_source(server.url)`; each picture is as bright as its number, modulo 200, plus 20. With
user and password it asks for them (basic).
"""

from __future__ import annotations

import base64
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np


class MjpegServer:
    """Serves from `with` to its end, on a port that was free."""

    def __init__(
        self, *, fps: float = 15.0, size: tuple[int, int] = (320, 240), user: str = "", password: str = ""
    ) -> None:
        self.user, self.password = user, password
        self.made_at: dict[int, float] = {}  # by number, of the last one who listens
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
                if user and self.headers.get("Authorization") != wanted:
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                number = 0
                while not server.closed.is_set():
                    picture = np.full((size[1], size[0], 3), 20 + number % 200, np.uint8)
                    data = cv2.imencode(".jpg", picture)[1].tobytes()
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                    server.made_at[number] = time.time()
                    try:
                        self.wfile.write(head.encode() + data + b"\r\n")
                    except OSError:  # whoever looked has gone
                        return
                    number += 1
                    time.sleep(1 / fps)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.closed = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        login = f"{self.user}:{self.password}@" if self.user else ""
        return f"http://{login}127.0.0.1:{self._server.server_address[1]}/video.mjpg"

    def __enter__(self) -> MjpegServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
