"""Real servers are read through a capture process by either reader, and why one cannot be is told."""

from __future__ import annotations

import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from capturing import capturing, either_reader, needs_gstreamer, needs_rtsp
from mjpeg_server import MjpegServer
from rtsp_server import RtspServer, read_marker

from palijet import SourceError
from palijet.runtime.cameras.camera import Camera
from palijet.runtime.capture.protocol import Captured, Ended, Failed, Opened
from palijet.runtime.sinks.video_writer import VideoWriter
from palijet.runtime.sources import open_source, parse_uri, register


@contextmanager
def folder_over_http(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@needs_rtsp
@either_reader
def test_an_rtsp_camera_is_read_with_its_password_and_its_frames_are_new(reader: str) -> None:
    with RtspServer(user="ann", password="s3/cr@t") as server:
        url = f"rtsp://ann:s3%2Fcr%40t@127.0.0.1:{server.port}/0"
        with capturing(url, reader=reader) as capture:
            opened = capture.opened()
            assert (opened.width, opened.height, opened.reader, opened.format) == (320, 240, reader, "H264")
            ages_s, numbers = [], []
            for captured, image in capture.frames(30):
                marker = read_marker(image)
                if marker is None:  # before the first key frame has come whole
                    continue
                ages_s.append(time.time() - marker.made_at)
                numbers.append(marker.number)
                assert abs(captured.captured_at - time.time() + time.monotonic() - captured.captured_monotonic) < 0.05
            assert len(numbers) > 15
            assert numbers == sorted(set(numbers))
            assert statistics.median(ages_s) < 0.5


@needs_rtsp
@needs_gstreamer
def test_the_moment_of_capture_is_that_of_arrival_and_not_of_reading() -> None:
    with RtspServer() as server, capturing(server.url) as capture:
        list(capture.frames(10))
        told_s = []
        for captured, image in capture.frames(20):
            marker = read_marker(image)
            assert marker is not None
            told_s.append(captured.captured_at - marker.made_at)
        assert 0 <= statistics.median(told_s) < 0.1


@needs_rtsp
@needs_gstreamer
@pytest.mark.parametrize("codec", ["jpeg", "h265"])
def test_other_codecs_and_udp_are_read_too(codec: str) -> None:
    with RtspServer(codec=codec, fps=15) as server, capturing(server.url, transport="udp") as capture:
        assert capture.opened().format == codec.upper()
        assert any(read_marker(image) for _, image in capture.frames(15))


@needs_rtsp
@needs_gstreamer
def test_another_size_in_mid_stream_goes_on_without_a_restart() -> None:
    with RtspServer() as server, capturing(server.url) as capture:
        list(capture.frames(5))
        server.say("size 640x480")
        opened = capture.hear(lambda message: isinstance(message, Opened) and message.width == 640)
        assert isinstance(opened, Opened)
        assert opened.height == 480
        assert [image.shape for _, image in capture.frames(3)] == [(480, 640, 3)] * 3


@needs_rtsp
@either_reader
def test_a_wrong_password_is_told_without_it(reader: str) -> None:
    with RtspServer(user="ann", password="right") as server:
        for login, sentence in (("ann:wr0ng@", "its user or password is wrong"), ("", "wants a user and a password")):
            with capturing(f"rtsp://{login}127.0.0.1:{server.port}/0", reader=reader) as capture:
                failed = capture.failed()
                assert failed.kind == "credentials"
                assert sentence in failed.reason
                assert "wr0ng" not in failed.reason


@either_reader
def test_a_host_or_a_port_that_is_none_is_told_apart(reader: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # taken, and nobody listens
        port = free.getsockname()[1]
        for address, sentence in (
            (f"rtsp://127.0.0.1:{port}/s", f"takes no connection at port {port}"),
            ("rtsp://no-such-host.invalid/s", "there is no host named no-such-host.invalid"),
        ):
            with capturing(address, reader=reader) as capture:
                failed = capture.failed()
                assert failed.kind == "unreachable"
                assert sentence in failed.reason


@needs_rtsp
@either_reader
def test_a_stream_of_sound_alone_has_no_video(reader: str) -> None:
    with RtspServer(codec="audio") as server, capturing(server.url, reader=reader) as capture:
        failed = capture.failed()
        assert failed.kind == "no-video"
        assert "has no video stream" in failed.reason


@needs_rtsp
@needs_gstreamer
def test_a_stream_that_ends_and_a_server_that_dies_are_noticed() -> None:
    with RtspServer() as server:
        for end in (partial(server.say, "end"), server.kill):
            with capturing(server.url) as capture:
                list(capture.frames(3))
                end()
                capture.hear(lambda message: isinstance(message, (Ended, Failed)))


@either_reader
def test_motion_jpeg_is_read_over_http(reader: str) -> None:
    with MjpegServer(user="ann", password="s3cret") as server:
        with capturing(server.url, reader=reader) as capture:
            assert capture.opened().format == "JPEG"
            ages_s = []
            for captured, _ in capture.frames(20):
                ages_s.append(time.time() - server.made_at[round(captured.mean) - 20])
            assert statistics.median(ages_s) < 0.1
        with capturing(server.url.replace("s3cret", "other"), reader=reader) as capture:
            assert capture.failed().kind == "credentials"


@pytest.mark.slow
@either_reader
def test_hls_is_played_at_its_own_rate(reader: str, tmp_path: Path) -> None:
    command = "ffmpeg -loglevel error -f lavfi -i testsrc=size=320x240:rate=25:duration=3 -c:v libx264 -g 25 -f hls -hls_time 1"
    try:
        subprocess.run([*command.split(), "-hls_list_size", "0", tmp_path / "live.m3u8"], check=True)
    except FileNotFoundError:
        pytest.skip("ffmpeg is not installed: apt install ffmpeg")
    with folder_over_http(tmp_path) as address:
        with capturing(f"{address}/live.m3u8", reader=reader) as capture:
            assert capture.opened().width == 320
            began = time.monotonic()
            capture.hear(lambda message: isinstance(message, Ended))
            assert time.monotonic() - began > 1.5
            assert sum(isinstance(message, Captured) for message in capture.said) > 40
        for path in ("none.m3u8", "none.mjpg"):
            with capturing(f"{address}/{path}", reader=reader) as capture:
                assert "404" in capture.failed().reason


@needs_gstreamer
def test_a_pipeline_of_the_users_own_is_played() -> None:
    with capturing("gst://videotestsrc num-buffers=12 ! video/x-raw,width=200,height=100,framerate=25/1") as capture:
        opened = capture.opened()
        assert (opened.width, opened.height, opened.fps) == (200, 100, 25)
        began = time.monotonic()
        capture.hear(lambda message: isinstance(message, Ended))
        assert time.monotonic() - began > 0.3  # not live, so it waits for each picture's time
    with capturing("gst://nosuchelement ! queue") as capture:
        failed = capture.failed()
        assert failed.kind == "plugin"
        assert 'no element "nosuchelement"' in failed.reason


@needs_gstreamer
def test_region_rotation_and_scale_are_done_in_this_order() -> None:
    source = "gst://videotestsrc is-live=true pattern=smpte ! video/x-raw,width=320,height=240"
    with capturing(source) as capture:
        _, whole = next(capture.frames(1))
    with capturing(source, crop=(100, 20, 180, 60), rotation=90, width=80) as capture:
        opened = capture.opened()
        _, part = next(capture.frames(1))
    assert (opened.width, opened.height) == (80, 160)
    assert part.shape == (160, 80, 3)
    expected = np.rot90(whole[20:60, 100:180], -1).repeat(2, axis=0).repeat(2, axis=1)
    assert np.abs(part.astype(int) - expected).mean() < 8
    with capturing(source, crop=(300, 200, 400, 240)) as capture:
        failed = capture.failed()
        assert failed.kind == "region"
        assert "outside the frame of 320 x 240" in failed.reason


def test_a_video_plays_as_a_camera_at_its_rate_and_from_the_beginning_again(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "clip.mp4", 25) as writer:
        for number in range(10):
            writer.write(np.full((48, 64, 3), 20 * number, np.uint8))
    uri = parse_uri(str(tmp_path / "clip.mp4"))
    with capturing(replace(uri, loop=True)) as capture:
        began = time.monotonic()
        means = [captured.mean for captured, _ in capture.frames(21)]
        assert time.monotonic() - began > 0.7
        assert means == pytest.approx([20 * (number % 10) for number in range(21)], abs=4)
    with capturing(uri) as capture:
        capture.hear(lambda message: isinstance(message, Ended))


def test_a_local_camera_that_is_not_there_is_said_to_be_so() -> None:
    with capturing("/dev/video97") as capture:
        failed = capture.failed()
        assert failed.kind == "device"
        assert "plugged in" in failed.reason


@needs_rtsp
@needs_gstreamer
def test_a_plugin_that_is_missing_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugins = next(Path("/usr/lib").glob("*/gstreamer-1.0"))

    def only(folder: str, *names: str) -> None:
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / f"libgst{name}.so").symlink_to(plugins / f"libgst{name}.so")
        monkeypatch.setenv("GST_PLUGIN_SYSTEM_PATH_1_0", str(tmp_path / folder))
        monkeypatch.setenv("GST_REGISTRY_1_0", str(tmp_path / f"{folder}.registry"))

    core = ("coreelements", "app", "videoconvertscale", "playback")
    with RtspServer() as server:  # which has all plug-ins
        only("core", *core)
        with capturing(server.url, reader="gstreamer") as capture:
            failed = capture.failed()
        assert failed.kind == "plugin"
        assert "rtspsrc, rtpjitterbuffer" in failed.reason
        assert "apt install gstreamer1.0-plugins-good" in failed.reason
        with capturing(server.url, reader="auto") as capture:
            assert capture.opened().reader == "opencv"
        only("no_codec", *core, "rtsp", "rtp", "rtpmanager", "udp", "tcp", "typefindfunctions", "videoparsersbad")
        with capturing(server.url, reader="gstreamer") as capture:
            failed = capture.failed()
        assert failed.kind == "codec"
        assert "H.264" in failed.reason
        assert "gstreamer1.0-libav" in failed.reason


def test_a_registered_source_plays_as_a_camera_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "two_greys.py").write_text(
        "import numpy as np\n"
        "from palijet.runtime.sources import Frame, Source\n"
        "class TwoGreys(Source):\n"
        "    fps = 50.0\n"
        "    def __iter__(self):\n"
        "        for index, value in enumerate((40, 90)):\n"
        "            yield Frame(np.full((48, 64, 3), value, np.uint8), index, 0.0, 'two greys')\n"
        "def open_it(address):\n"
        "    assert address == 'twogreys://front'\n"
        "    return TwoGreys()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    register("twogreys", "two_greys:open_it")
    with open_source("twogreys://front") as camera:
        assert isinstance(camera, Camera)
        values = {int(frame.image[0, 0, 0]) for frame in islice(camera, 12)}
    assert values == {40, 90}


def test_a_video_in_real_time_is_a_camera_that_ends(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "clip.mp4", 25) as writer:
        for number in range(10):
            writer.write(np.full((48, 64, 3), 20 * number, np.uint8))
    began = time.monotonic()
    with open_source(tmp_path / "clip.mp4", realtime=True) as camera:
        assert camera.live
        assert 0 < sum(1 for _ in camera) <= 10
    assert time.monotonic() - began > 0.3
    with pytest.raises(SourceError, match="does not exist"):
        open_source(tmp_path / "none.mp4", realtime=True)


def test_a_camera_that_is_off_is_no_error() -> None:
    for address in (97, "/dev/video97", "rtsp://127.0.0.1:9/s"):
        with open_source(address) as camera:
            assert camera.live
