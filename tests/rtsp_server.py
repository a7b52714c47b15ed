"""A real RTSP server (GstRtspServer, x264) whose pictures say which camera made them, the how manieth they are, and when.

For tests: `with RtspServer(fps=30, user="ann", password="secret") as server: open_source(server.url)`, and
`read_marker(frame.image)` tells `Marker(camera, number, made_at)`, or None where the squares cannot be read (a damaged picture).
`server.say(COMMAND)` changes it while it runs:

    size 640x480      another resolution in mid-stream         pattern frozen     moving, frozen, black, grey or noise
    silence / speak   connected, but no more frames            damage 0.001       flip bytes of the coded stream at this rate
    end               end of stream, for those who listen      password NEW       from now on, in place of the old one

`server.hang()` and `server.wake()` are SIGSTOP and SIGCONT, `server.kill()` is SIGKILL, `server.start()` starts it again on the
same port. `cameras=16` serves 16 of them at `server.urls`, one process, a counter and a number each. It is run by /usr/bin/python3,
where Debian's python3-gi and gir1.2-gst-rtsp-server-1.0 are; `why_not()` says what is missing. By hand: `rtsp_server.py --help`.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

PYTHON = "/usr/bin/python3"
COLUMNS, ROWS = 20, 4  # squares: 8 bits of the camera, 32 of the number, 32 of the milliseconds, 8 of their sum
MARKED = 0.5  # the upper share of the picture that the squares fill
CODECS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast pass=quant quantizer=22 key-int-max=15 threads=1"
    " ! breakmydata name=damage skip=4096 probability=0 ! rtph264pay name=pay0 pt=96 config-interval=-1",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! rtph265pay name=pay0 pt=96 config-interval=-1",
    "jpeg": "jpegenc quality=85 ! rtpjpegpay name=pay0 pt=26",
    "audio": "",  # no picture at all
}


@dataclass(frozen=True)
class Marker:
    """What a picture says about itself."""

    camera: int
    number: int  # from 0, of all that the server has made for this camera
    made_at: float  # seconds since 1970, in whole milliseconds


def read_marker(image: Any) -> Marker | None:
    """Of a [height, width, 3] uint8 picture, however it was scaled; None: it bears no squares that agree with their sum."""
    height, width = image.shape[:2]
    value = 0
    for row in range(ROWS):
        y = int((row + 0.5) * height * MARKED / ROWS)
        for column in range(COLUMNS):
            x = int((column + 0.5) * width / COLUMNS)
            value = value << 1 | int(image[y - 1 : y + 2, x - 1 : x + 2].mean() > 127)
    body, total = value >> 8, value & 0xFF
    if total != _sum(body):
        return None
    now_ms = time.time_ns() // 1_000_000
    behind_ms = (now_ms - body) & 0xFFFFFFFF
    behind_ms -= 1 << 32 if behind_ms > 1 << 31 else 0  # a little ahead of us, where clocks are rounded
    return Marker(body >> 64, body >> 32 & 0xFFFFFFFF, (now_ms - behind_ms) / 1e3)


@cache
def why_not() -> str:
    """Why the server cannot run on this machine; empty: it can."""
    try:
        probe = subprocess.run(
            [PYTHON, "-c", "import gi; gi.require_version('GstRtspServer', '1.0')"], capture_output=True, timeout=60
        )
    except FileNotFoundError:
        return f"there is no {PYTHON}"
    if probe.returncode:
        return "GstRtspServer is not installed: apt install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-ugly"
    return ""


class RtspServer:
    """The server as a process of its own, from `with` to its end."""

    def __init__(
        self,
        *,
        size: tuple[int, int] = (320, 240),
        fps: int = 30,
        codec: str = "h264",
        pattern: str = "moving",
        user: str = "",
        password: str = "",
        cameras: int = 1,
        first_camera: int = 0,
        port: int = 0,
    ) -> None:
        self.size, self.user, self.password, self.port = size, user, password, port
        self._arguments = [f"--fps={fps}", f"--codec={codec}", f"--pattern={pattern}", f"--first-camera={first_camera}"]
        self._cameras = cameras
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Run it, on the port that it had before, and wait until it listens."""
        assert self._process is None
        command = [PYTHON, __file__, f"--port={self.port}", f"--size={self.size[0]}x{self.size[1]}", *self._arguments]
        command += [f"--user={self.user}", f"--password={self.password}", f"--cameras={self._cameras}"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        ready = self._process.stdout.readline()
        assert ready.startswith("rtsp://"), f"the RTSP server did not start: {ready!r}"
        self.port = int(ready.split("/")[2].rpartition(":")[2])

    @property
    def urls(self) -> list[str]:
        """Of each camera, with user and password."""
        login = f"{self.user}:{self.password}@" if self.user else ""
        return [f"rtsp://{login}127.0.0.1:{self.port}/{index}" for index in range(self._cameras)]

    @property
    def url(self) -> str:
        """Of the first camera."""
        return self.urls[0]

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None
        return self._process.pid

    def say(self, command: str) -> None:
        """Change it while it runs, for all its cameras; returns when it has been taken."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer == "ok\n", f"{command}: {answer!r}"
        if command.startswith("password "):
            self.password = command.split()[1]

    def hang(self) -> None:
        """It keeps its connections and does nothing more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL; `start` starts it again on the same port."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __enter__(self) -> RtspServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def _sum(body: int) -> int:
    return (sum(body.to_bytes(9, "big")) + 0xA5) & 0xFF


# From here on: inside the process.


class _Camera:
    """Draws pictures into an appsrc while anybody listens."""

    def __init__(self, index: int, arguments: argparse.Namespace) -> None:
        self.index = index
        self.fps: int = arguments.fps
        self.size = _size(arguments.size)
        self.pattern: str = arguments.pattern
        self.silent = False
        self.damage = 0.0
        self.media: Any = None
        self._fed: Any = None  # the media that is fed
        self._number = 0
        self._made_ms = 0
        self._plain: tuple[tuple[int, int], bytes] | None = None

    def launch(self, codec: str) -> str:
        if codec == "audio":
            return (
                "( audiotestsrc is-live=true ! audio/x-raw,rate=8000,channels=1 ! alawenc ! rtppcmapay name=pay0 pt=8 )"
            )
        return (
            f"( appsrc name=frames is-live=true format=time do-timestamp=true max-bytes=0 ! queue ! {CODECS[codec]} )"
        )

    def configured(self, media: Any) -> None:
        self.media = media
        source = media.get_element().get_child_by_name("frames")
        if source is not None:
            self.set_damage(self.damage)
            source.connect("need-data", self._begin, media)

    def _begin(self, source: Any, _length: int, media: Any) -> None:
        """Feed it, once it asks: a live media that is fed earlier hangs in one of thirty starts (GstRtspServer 1.22)."""
        if self._fed is not media:
            self._fed = media
            threading.Thread(target=self._feed, args=(media, source), daemon=True).start()

    def set_damage(self, probability: float) -> None:
        self.damage = probability
        element = self.media and self.media.get_element().get_child_by_name("damage")
        if element:
            element.set_property("probability", probability)

    def end(self) -> None:
        source = self.media and self.media.get_element().get_child_by_name("frames")
        if source:
            source.emit("end-of-stream")

    def _feed(self, media: Any, source: Any) -> None:
        from gi.repository import Gst

        size = None
        due = time.monotonic()
        while self.media is media:
            if size != self.size:
                size = self.size
                source.set_property(
                    "caps",
                    Gst.Caps.from_string(
                        f"video/x-raw,format=I420,width={size[0]},height={size[1]},framerate={self.fps}/1"
                    ),
                )
            if not self.silent and source.emit("push-buffer", Gst.Buffer.new_wrapped(self._draw(size))) not in (
                Gst.FlowReturn.OK,
                Gst.FlowReturn.FLUSHING,  # nobody plays yet, or nobody any longer
            ):
                return
            due = max(due + 1 / self.fps, time.monotonic() - 1.0)
            time.sleep(max(0.0, due - time.monotonic()))

    def _draw(self, size: tuple[int, int]) -> bytes:
        """An I420 picture: squares above; below, grey levels in which a bar moves."""
        width, height = size
        luma, chroma = width * height, width * height // 4
        if self.pattern == "black":
            return bytes([16]) * luma + bytes([128]) * (2 * chroma)
        if self.pattern == "grey":
            return bytes([128]) * (luma + 2 * chroma)
        if self._plain is None or self._plain[0] != size:
            row = bytes(60 + 100 * x // width for x in range(width))
            self._plain = size, row * height + bytes([110]) * chroma + bytes([150]) * chroma
        picture = bytearray(self._plain[1])
        if self.pattern != "frozen":
            self._number += 1
            self._made_ms = time.time_ns() // 1_000_000 & 0xFFFFFFFF
        number, made_ms = max(0, self._number - 1), self._made_ms
        body = (self.index << 32 | number) << 32 | made_ms
        bits = f"{body << 8 | _sum(body):0{COLUMNS * ROWS}b}"
        edges = [round(column * width / COLUMNS) for column in range(COLUMNS + 1)]
        for row in range(ROWS):
            line = b"".join(
                (b"\xeb" if bit == "1" else b"\x10") * (edges[column + 1] - edges[column])
                for column, bit in enumerate(bits[row * COLUMNS : (row + 1) * COLUMNS])
            )
            top, bottom = (int(edge * height * MARKED / ROWS) for edge in (row, row + 1))
            picture[top * width : bottom * width] = line * (bottom - top)
        below = int(height * MARKED)
        if self.pattern == "noise":
            picture[below * width : luma] = random.randbytes(luma - below * width)
        elif self.pattern == "moving":
            left = number * 4 % (width - width // 8)
            for y in range(below, height):
                picture[y * width + left : y * width + left + width // 8] = b"\xc8" * (width // 8)
        return bytes(picture)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", default="0", help="0: any that is free")
    parser.add_argument("--size", default="320x240", help="both divisible by 4")
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--codec", choices=sorted(CODECS), default="h264")
    parser.add_argument("--pattern", choices=("moving", "frozen", "black", "grey", "noise"), default="moving")
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="")
    parser.add_argument("--cameras", type=int, default=1)
    parser.add_argument("--first-camera", type=int, default=0, help="the number that the first one draws")
    arguments = parser.parse_args()

    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(arguments.port)
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    login = ""
    if arguments.user:
        login = GstRtspServer.RTSPAuth.make_basic(arguments.user, arguments.password)
        auth.add_basic(login, token)
        server.set_auth(auth)
    cameras = []
    for index in range(arguments.cameras):
        camera = _Camera(arguments.first_camera + index, arguments)
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(camera.launch(arguments.codec))
        factory.set_shared(True)
        if arguments.user:
            permissions = GstRtspServer.RTSPPermissions()
            permissions.add_permission_for_role("viewer", "media.factory.access", True)
            permissions.add_permission_for_role("viewer", "media.factory.construct", True)
            factory.set_permissions(permissions)
        factory.connect("media-configure", lambda _, media, camera=camera: camera.configured(media))
        server.get_mount_points().add_factory(f"/{index}", factory)
        cameras.append(camera)
    server.attach(None)

    def clean() -> bool:
        server.get_session_pool().cleanup()
        return True

    GLib.timeout_add_seconds(2, clean)

    def obey(command: str, *words: str) -> None:
        nonlocal login
        if command == "password":
            auth.remove_basic(login)
            login = GstRtspServer.RTSPAuth.make_basic(arguments.user, words[0])
            auth.add_basic(login, token)
            return
        for camera in cameras:
            if command == "size":
                camera.size = _size(words[0])
            elif command == "pattern":
                camera.pattern = words[0]
            elif command in ("silence", "speak"):
                camera.silent = command == "silence"
            elif command == "damage":
                camera.set_damage(float(words[0]))
            elif command == "end":
                camera.end()

    def listen(*_: object) -> bool:
        line = sys.stdin.readline()
        if not line:  # whoever started it has gone
            loop.quit()
            return False
        obey(*line.split())
        print("ok", flush=True)
        return True

    loop = GLib.MainLoop()
    GLib.io_add_watch(0, GLib.IO_IN | GLib.IO_HUP, listen)
    print(f"rtsp://127.0.0.1:{server.get_bound_port()}/0", flush=True)
    loop.run()


if __name__ == "__main__":
    main()
