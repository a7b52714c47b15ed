"""The page's server, asked over HTTP: who may look, what is shown, and that no viewer holds anything up."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from urllib.parse import parse_qs, quote, urlsplit

import aiohttp
import cv2
import httpx
import numpy as np
import psutil
import pytest
from answered_frames import TIMINGS, answered_frame
from free_port import free_port
from until import until

from palijet.runtime.cameras.status import CameraState, CameraStatus, StateChange
from palijet.runtime.errors import InputError, SinkError
from palijet.runtime.metrics import Metrics
from palijet.runtime.page.options import PageOptions
from palijet.runtime.page.server import PageServer
from palijet.runtime.result import DetectedObject
from palijet.runtime.sinks.sink import SinkStatus
from palijet.runtime.watch.status import WatchStatus

TOKEN = "correct-horse-battery"
PATHS = ("/", "/page.js", "/page.css", "/status", "/metrics", "/results", "/cameras/gate.jpg", "/cameras/gate.mjpg")
STATUS = WatchStatus(
    started_at=time.time(),
    cameras=(CameraStatus("gate", "rtsp://gate/stream", CameraState.LIVE, since=time.time()),),
    sinks=(SinkStatus("jsonl out.jsonl", ready=True, queued=0, delivered=3, dropped=0, failed=0),),
    answered=3,
    tokens=21,
    busy_s=0.1,
    loop_alive=True,
)


class Served:
    """A server that runs, and the status that it shows, which a test may change."""

    def __init__(self, options: PageOptions) -> None:
        self.status = STATUS
        self.server = PageServer(options, lambda: self.status, Metrics(lambda: self.status))
        self.server.start()
        self.base = f"http://127.0.0.1:{urlsplit(self.server.url).port}"

    def get(self, path: str, **options: object) -> httpx.Response:
        return httpx.get(self.base + path, timeout=20, **options)  # type: ignore[arg-type]


Serve = Callable[..., Served]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(**options: object) -> Served:
            served = Served(PageOptions(**{"port": 0, **options}))  # type: ignore[arg-type]
            stack.callback(served.server.close)
            return served

        yield start


@pytest.mark.parametrize("path", ["/", "/page.js", "/page.css", "/status", "/metrics"])
def test_on_this_machine_the_page_is_open(serve: Serve, path: str) -> None:
    assert serve().get(path).status_code == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"headers": {"Authorization": "Bearer wrong-token"}},
        {"headers": {"Authorization": f"Basic {TOKEN}"}},
        {"headers": {"Authorization": "Bearer"}},
        {"headers": {"Authorization": "Bearer ünïcode".encode()}},
        {"params": {"token": "wrong-token"}},
        {"params": {"token": ""}},
        {"headers": {"Cookie": "palijet-1=wrong"}},
    ],
)
def test_without_the_token_nothing_is_shown(serve: Serve, path: str, how: dict[str, object]) -> None:
    served = serve(token=TOKEN)
    served.server.answered(answered_frame("gate", TIMINGS))
    answer = served.get(path, **how)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "open the whole address that palijet printed" in answer.text


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_needs_no_token_and_names_no_camera(serve: Serve, path: str) -> None:
    served = serve(token=TOKEN)
    assert served.get(path).status_code == 200
    served.status = replace(STATUS, loop_alive=False)
    answer = served.get(path)
    assert answer.status_code == 503
    assert "gate" not in answer.text


@pytest.mark.parametrize("path", ["/", "/status", "/metrics", "/page.js"])
def test_the_token_is_taken_as_a_bearer(serve: Serve, path: str) -> None:
    assert serve(token=TOKEN).get(path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_the_token_in_the_address_becomes_a_cookie_on_the_first_visit(serve: Serve) -> None:
    served = serve(token=TOKEN)
    assert parse_qs(urlsplit(served.server.url).query) == {"token": [TOKEN]}
    with httpx.Client() as browser:
        first = browser.get(served.server.url)
        assert first.status_code == 303
        assert first.headers["location"] == "/"
        cookie = first.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert browser.get(served.base + "/").status_code == 200
        assert browser.get(served.base + "/status").status_code == 200
    assert served.get("/").status_code == 401


def test_cookies_of_two_servers_on_one_machine_do_not_meet(serve: Serve) -> None:
    one, other = serve(token=TOKEN), serve(token="another-token")
    with httpx.Client(follow_redirects=True) as browser:
        assert browser.get(one.server.url).status_code == 200
        assert browser.get(other.server.url).status_code == 200
        assert browser.get(one.base + "/status").status_code == 200


def test_where_others_can_reach_the_page_a_token_is_made(serve: Serve) -> None:
    one, other = serve(host="0.0.0.0"), serve(host="0.0.0.0")
    assert one.get("/").status_code == 401
    tokens = {parse_qs(urlsplit(served.server.url).query)["token"][0] for served in (one, other)}
    assert len(tokens) == 2
    assert all(len(token) >= 32 for token in tokens)
    (token,) = parse_qs(urlsplit(one.server.url).query)["token"]
    assert one.get("/status", params={"token": token}).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:80", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
    ],
)
def test_a_name_that_was_made_to_point_here_is_refused(serve: Serve, host: str, status: int) -> None:
    assert serve().get("/status", headers={"Host": host}).status_code == status


def test_another_site_cannot_open_the_websocket(serve: Serve) -> None:
    served = serve()

    async def status(origin: str) -> int:
        async with aiohttp.ClientSession() as session:
            try:
                async with session.ws_connect(served.base + "/results", headers={"Origin": origin}):
                    return 101
            except aiohttp.WSServerHandshakeError as error:
                return error.status

    assert asyncio.run(status("https://evil.example")) == 403
    assert asyncio.run(status("null")) == 403
    assert asyncio.run(status(served.base)) == 101


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"Authorization: Bearer \xff", 401),
        (b"Cookie: palijet-1=\xff", 401),
        (b"Authorization: Bearer %(token)s\r\nOrigin: http://[", 403),
        (b"Authorization: Bearer %(token)s\r\nOrigin: http://\xff", 403),
        (b"Authorization: Bearer %(token)s\r\nOrigin: http://localhost", 200),
    ],
)
@pytest.mark.parametrize("path", [b"/status", b"/status?token=%%ff"])
def test_what_is_no_text_or_no_address_is_refused_without_a_word_in_the_log(
    serve: Serve, caplog: pytest.LogCaptureFixture, path: bytes, headers: bytes, status: int
) -> None:
    told = b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n\r\n"
    assert status_of(serve(token=TOKEN), told % {b"token": TOKEN.encode()}) == status
    assert caplog.records == []


@pytest.mark.parametrize(("host", "status"), [(b"[", 403), (b"\xff", 400), (b"localhost:x", 400)])
def test_what_is_no_host_is_refused_without_a_word_in_the_log(
    serve: Serve, caplog: pytest.LogCaptureFixture, host: bytes, status: int
) -> None:
    assert status_of(serve(), b"GET /status HTTP/1.1\r\nHost: " + host + b"\r\n\r\n") == status
    assert caplog.records == []


def test_the_page_takes_nothing_from_elsewhere(serve: Serve) -> None:
    served = serve()
    answer = served.get("/")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    for path in ("/", "/page.js", "/page.css"):
        assert not re.findall(r"(?:https?:)?//\w+\.\w+", served.get(path).text)
    assert "innerHTML" not in served.get("/page.js").text


def test_a_refusal_carries_the_headers_too(serve: Serve) -> None:
    assert "content-security-policy" in serve(token=TOKEN).get("/").headers


def test_a_port_that_is_taken_is_a_sentence_and_leaves_no_thread(serve: Serve) -> None:
    port = urlsplit(serve().server.url).port
    before = threading.active_count()
    second = PageServer(PageOptions(port=port or 0), lambda: STATUS, Metrics(lambda: STATUS))
    with pytest.raises(SinkError, match=rf"port {port} of 127\.0\.0\.1 is taken; give another, or 0"):
        second.start()
    second.close()
    assert threading.active_count() == before


def test_an_address_of_another_machine_is_a_sentence() -> None:
    server = PageServer(PageOptions(host="192.0.2.1", port=0), lambda: STATUS, Metrics(lambda: STATUS))
    with pytest.raises(SinkError, match=r"cannot be served at port 0 of 192\.0\.2\.1"):
        server.start()


@pytest.mark.parametrize(
    ("option", "value"),
    [("port", 70000), ("token", "short"), ("token", "with blanks in it"), ("stuck_s", 0), ("jpeg_quality", 101)],
)
def test_options_that_cannot_be_are_refused(option: str, value: object) -> None:
    with pytest.raises(InputError, match="give"):
        PageOptions(**{option: value})  # type: ignore[arg-type]


def test_healthz_is_well_while_the_loop_runs_and_is_not_stuck(serve: Serve) -> None:
    served = serve(stuck_s=30)
    assert served.get("/healthz").text == "ok\n"
    served.status = replace(STATUS, busy_s=31.0)
    assert (served.get("/healthz").status_code, served.get("/readyz").status_code) == (503, 503)
    assert "for 31 s" in served.get("/healthz").text
    served.status = replace(STATUS, loop_alive=False)
    assert served.get("/healthz").status_code == 503
    assert "does not run" in served.get("/healthz").text


@pytest.mark.parametrize("state", [state for state in CameraState if state is not CameraState.LIVE])
def test_readyz_needs_a_live_camera_and_healthz_does_not(serve: Serve, state: CameraState) -> None:
    served = serve()
    (gate,) = STATUS.cameras
    served.status = replace(STATUS, cameras=(replace(gate, state=state),))
    assert served.get("/healthz").status_code == 200
    assert (served.get("/readyz").status_code, served.get("/readyz").text) == (503, f"no camera is live: 1 {state}\n")
    served.status = replace(STATUS, cameras=(replace(gate, state=state), replace(gate, name="door")))
    assert served.get("/readyz").status_code == 200
    served.status = replace(STATUS, cameras=())
    assert served.get("/readyz").status_code == 503


def test_status_is_what_the_watch_says(serve: Serve) -> None:
    told = serve().get("/status").json()
    assert time.time() - told.pop("at") < 20
    assert told == json.loads(json.dumps(STATUS.to_dict()))


def test_a_jpeg_is_the_newest_frame_with_its_boxes(serve: Serve) -> None:
    served = serve()
    assert served.get("/cameras/gate.jpg").status_code == 404
    served.server.answered(answered_frame("gate", TIMINGS, image=plain(200)))
    box = DetectedObject("gear", (100, 100, 300, 200), 0.9)
    served.server.answered(answered_frame("gate", TIMINGS, image=plain(60), objects=(box,)))
    picture = decoded(served.get("/cameras/gate.jpg").content)
    assert picture.shape == (360, 480, 3)
    assert abs(int(picture[300, 400].mean()) - 60) < 6  # of the second frame
    for y, x in ((200, 200), (150, 100), (150, 300)):  # on its edges; JPEG blurs them
        assert picture[y - 1 : y + 2, x - 1 : x + 2].max() > 150


def test_answers_without_boxes_do_not_change_the_size(serve: Serve) -> None:
    served = serve()
    served.server.answered(answered_frame("gate", TIMINGS, TIMINGS, TIMINGS, image=plain(60)))
    assert decoded(served.get("/cameras/gate.jpg").content).shape == (360, 480, 3)


def test_a_large_picture_is_scaled_down(serve: Serve) -> None:
    served = serve(longest_side=320)
    served.server.answered(answered_frame("gate", TIMINGS, image=np.full((1080, 1920, 3), 90, np.uint8)))
    assert decoded(served.get("/cameras/gate.jpg").content).shape == (180, 320, 3)


def test_an_unknown_camera_is_not_found(serve: Serve) -> None:
    served = serve()
    assert served.get("/cameras/nobody.jpg").status_code == 404
    assert served.get("/cameras/nobody.mjpg").status_code == 404


def test_a_camera_that_a_reload_took_away_is_not_found(serve: Serve) -> None:
    served = serve()
    served.server.answered(answered_frame("gate", TIMINGS))
    assert served.get("/cameras/gate.jpg").status_code == 200
    served.status = replace(STATUS, cameras=())
    assert served.get("/cameras/gate.jpg").status_code == 404


@pytest.mark.parametrize("name", ["rtsp://gate:554/a b?c=1#%2F", "{gate}", "a{b", "ü.jpg"])
def test_a_camera_may_be_called_by_its_address_or_as_one_likes(serve: Serve, name: str) -> None:
    served = serve()
    served.status = replace(STATUS, cameras=(replace(STATUS.cameras[0], name=name),))
    served.server.answered(answered_frame(name, TIMINGS))
    assert served.get(f"/cameras/{quote(name, safe='')}.jpg").status_code == 200
    with httpx.stream("GET", f"{served.base}/cameras/{quote(name, safe='')}.mjpg", timeout=20) as stream:
        assert stream.status_code == 200


def test_an_mjpeg_shows_each_new_picture(serve: Serve) -> None:
    served = serve()
    shades = (40, 120, 200)
    seen: list[float] = []
    with httpx.stream("GET", served.base + "/cameras/gate.mjpg", timeout=20) as stream:
        assert stream.headers["content-type"] == "multipart/x-mixed-replace; boundary=frame"
        chunks = stream.iter_raw()
        for shade in shades:
            served.server.answered(answered_frame("gate", TIMINGS, image=plain(shade)))
            seen.append(float(decoded(next_part(chunks)).mean()))
    assert seen == pytest.approx(shades, abs=2)


def test_opencv_plays_the_mjpeg(serve: Serve) -> None:
    served = serve()
    done = threading.Event()

    def feed() -> None:
        while not done.wait(0.02):
            served.server.answered(answered_frame("gate", TIMINGS, image=plain(120)))

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        capture = cv2.VideoCapture(served.base + "/cameras/gate.mjpg", cv2.CAP_FFMPEG)
        pictures = [capture.read() for _ in range(5)]
        capture.release()
    finally:
        done.set()
        feeder.join()
    assert all(found and picture.shape == (360, 480, 3) for found, picture in pictures)
    assert abs(float(pictures[-1][1].mean()) - 120) < 3


def test_nothing_is_drawn_while_nobody_looks(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    monkeypatch.setattr("palijet.runtime.page.picture._jpeg", lambda answered, options: drawn.append(1) or b"jpeg")
    served = serve()
    for _ in range(50):
        served.server.answered(answered_frame("gate", TIMINGS))
    assert served.get("/status").status_code == 200
    assert drawn == []
    assert served.get("/cameras/gate.jpg").content == served.get("/cameras/gate.jpg").content == b"jpeg"
    assert drawn == [1]  # two viewers share it


def test_a_viewer_that_does_not_read_holds_up_nobody(serve: Serve) -> None:
    served = serve()
    noise = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), dtype=np.uint8)  # some 600 kB as a JPEG
    answered = answered_frame("gate", TIMINGS, image=noise)
    address = ("127.0.0.1", urlsplit(served.base).port)
    with ExitStack() as stack:
        for path in ["/cameras/gate.mjpg"] * 4:
            deaf = stack.enter_context(socket.create_connection(address))
            deaf.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        deaf = stack.enter_context(socket.create_connection(address))
        deaf.sendall(
            b"GET /results HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        served.server.answered(answered)
        assert served.get("/cameras/gate.jpg").status_code == 200
        memory = psutil.Process().memory_info().rss
        longest_s = 0.0
        with httpx.stream("GET", served.base + "/cameras/gate.mjpg", timeout=20) as stream:
            chunks = stream.iter_raw()
            for _ in range(20):
                for _ in range(50):
                    began = time.perf_counter()
                    served.server.answered(answered)
                    longest_s = max(longest_s, time.perf_counter() - began)
                assert decoded(next_part(chunks)).shape == noise.shape
        assert served.get("/healthz").status_code == 200
        grown = psutil.Process().memory_info().rss - memory
    assert longest_s < 0.5  # of a call that takes microseconds, on a machine that may be busy
    assert grown < 100e6, f"{grown / 1e6:.0f} MB more, for 1000 frames of {noise.nbytes / 1e6:.1f} MB"


def test_the_websocket_tells_status_answers_and_changes(serve: Serve) -> None:
    served = serve()
    served.server.answered(answered_frame("gate", TIMINGS, text="before anybody listened"))
    change = StateChange("gate", time.time(), CameraState.LIVE, CameraState.STALE, "no frame for 2.5 s", 84.2)

    async def listen() -> list[dict[str, object]]:
        async with aiohttp.ClientSession() as session, session.ws_connect(served.base + "/results") as socket:
            messages = [await socket.receive_json(timeout=20), await socket.receive_json(timeout=20)]
            served.server.answered(answered_frame("gate", TIMINGS, text="<b>später</b>"))
            served.server.changed(change)
            while len({message["type"] for message in messages}) < 3 or messages[-1]["type"] != "status":
                messages.append(await socket.receive_json(timeout=20))
            return messages

    messages = asyncio.run(listen())
    assert messages[0]["type"] == "status"
    assert messages[0]["cameras"][0]["name"] == "gate"  # type: ignore[index]
    news = [message for message in messages if message["type"] != "status"]
    assert [message["number"] for message in news] == [1, 2, 3]
    assert [message["results"][0]["text"] for message in news[:2]] == ["before anybody listened", "<b>später</b>"]  # type: ignore[index]
    assert news[2] == {
        "number": 3,
        "type": "state",
        "camera": "gate",
        "at": change.at,
        "before": "live",
        "after": "stale",
        "reason": "no frame for 2.5 s",
        "lasted_s": 84.2,
    }


def test_a_listener_that_was_slow_sees_by_the_numbers_what_it_missed(serve: Serve) -> None:
    served = serve()

    async def listen() -> list[int]:
        async with aiohttp.ClientSession() as session, session.ws_connect(served.base + "/results") as socket:
            await socket.receive_json(timeout=20)
            for _ in range(2000):  # faster than the server's loop comes round to tell them
                served.server.changed(StateChange("gate", 0.0, CameraState.LIVE, CameraState.STALE, "x" * 2000, 0.0))
            numbers: list[int] = []
            while not numbers or numbers[-1] < 2000:
                message = await socket.receive_json(timeout=20)
                if message["type"] == "state":
                    numbers.append(message["number"])
            return numbers

    numbers = asyncio.run(listen())
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 2000


def test_closing_lets_viewers_go_and_leaves_nothing_behind() -> None:
    process = psutil.Process()
    before = (threading.active_count(), process.num_fds())
    port = free_port()
    for _ in range(3):
        served = Served(PageOptions(port=port))  # the same port each time: it was given back
        served.server.answered(answered_frame("gate", TIMINGS))
        with httpx.stream("GET", served.base + "/cameras/gate.mjpg", timeout=20) as stream:
            next(stream.iter_raw())
            began = time.monotonic()
            served.server.close()
            assert time.monotonic() - began < 10
        served.server.answered(answered_frame("gate", TIMINGS))  # shown to nobody, and no error
        served.server.close()
    until(lambda: (threading.active_count(), process.num_fds()) == before)


@pytest.mark.parametrize(("library", "package"), [("aiohttp", "aiohttp"), ("prometheus_client", "prometheus-client")])
def test_a_library_that_is_missing_is_a_sentence_with_the_extra(library: str, package: str) -> None:
    code = f"import sys; sys.modules[{library!r}] = None; import palijet.runtime.page.server"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stderr.endswith(f"SinkError: {package} is not installed; run: pip install 'palijet[page]'\n")


def status_of(served: Served, request: bytes) -> int:
    """What the server answers to bytes that no client would send."""
    with socket.create_connection(("127.0.0.1", urlsplit(served.base).port or 0), timeout=20) as connection:
        connection.sendall(request)
        return int(connection.recv(4096).split()[1])


def plain(shade: int) -> np.ndarray:
    """[360, 480, 3] of one grey, large enough not to be enlarged for its labels."""
    return np.full((360, 480, 3), shade, np.uint8)


def decoded(jpeg: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(picture)


def next_part(chunks: Iterator[bytes]) -> bytes:
    """The next whole JPEG of an MJPEG, by its Content-Length; the server writes a part at once."""
    read = b""
    while (
        not (found := re.search(rb"Content-Length: (\d+)\r\n\r\n", read))
        or len(read) < found.end() + int(found[1]) + 11
    ):
        read += next(chunks)
    return read[found.end() : found.end() + int(found[1])]
