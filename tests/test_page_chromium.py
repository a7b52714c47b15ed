"""The page as Chromium shows it: pictures with boxes, states, answers as text; refused without the token; back by itself."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from answered_frames import TIMINGS, answered_frame
from chromium import Page
from free_port import free_port

import palijet
from palijet.runtime.cameras.status import CameraState, CameraStatus, StateChange
from palijet.runtime.metrics import Metrics
from palijet.runtime.page.options import PageOptions
from palijet.runtime.page.server import PageServer
from palijet.runtime.sinks.sink import AnsweredFrame, SinkStatus
from palijet.runtime.watch.status import WatchStatus

pytestmark = pytest.mark.slow

HAS_PICTURES = "document.images.length > 0 && [...document.images].every((image) => image.naturalWidth > 0)"


class Watching:
    """A server, and the status that it shows."""

    def __init__(self, names: list[str], options: PageOptions | None = None) -> None:
        now = time.time()
        self.status = WatchStatus(
            started_at=now - 100,
            cameras=tuple(
                CameraStatus(name, "", CameraState.LIVE, since=now - 60, fps=30.0, size=(320, 240)) for name in names
            ),
            sinks=(SinkStatus("mqtt broker", False, queued=4, delivered=9, dropped=0, failed=3, reason="refused"),),
            answered=12,
            tokens=240,
            busy_s=0.1,
            loop_alive=True,
        )
        self.server = PageServer(
            options or PageOptions(port=0), lambda: self.status, Metrics(lambda: self.status, backend="cpu")
        )
        self.server.start()


@contextmanager
def feeding(server: PageServer, frames: list[AnsweredFrame]) -> Iterator[None]:
    """Each of the frames ten times a second."""
    done = threading.Event()

    def feed() -> None:
        while not done.wait(0.1):
            for answered in frames:
                server.answered(answered)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("count", [1, 4, 16])
def test_the_screenshot_shows_the_boxes_of_every_camera(
    model: palijet.Model, scene: Callable[[int], np.ndarray], count: int
) -> None:
    image = scene(1)
    result = model.predict(image, "detect part ; label")
    assert result.objects
    names = [f"camera {number}" for number in range(count)]
    watching = Watching(names)
    frames = [answered_frame(name, TIMINGS, image=image, objects=result.objects) for name in names]

    async def look() -> tuple[np.ndarray, list[list[float]]]:
        async with Page(1600, 2000) as page:
            await page.open(watching.server.url)
            await page.wait_for(f"document.images.length === {count} && {HAS_PICTURES}")
            places = await page.evaluate(
                "[...document.images].map((image) => { const at = image.getBoundingClientRect();"
                " return [at.left, at.top, at.width, at.height]; })"
            )
            return await page.screenshot(), places

    try:
        with feeding(watching.server, frames):
            screenshot, places = asyncio.run(look())
    finally:
        watching.server.close()
    drawn = result.draw(image)  # enlarged by a whole factor
    for left, top, width, height in places:
        assert height == pytest.approx(width * 240 / 320, abs=2)
        for thing in result.objects:
            x0, y0, x1, y1 = thing.box
            for x, y in (((x0 + x1) / 2, y1), (x0, (y0 + y1) / 2)):  # on the lower and on the left edge
                colour = drawn[round(y * drawn.shape[0] / 240), round(x * drawn.shape[1] / 320)]
                assert distance(screenshot, left + x * width / 320, top + y * height / 240, colour) < 80
                assert distance(image, x, y, colour) > 80  # which was not there before


def test_text_is_text_and_not_markup() -> None:
    name, text = "<img src=x onerror=document.title='taken'>", "<script>document.title = 'taken'</script>"
    watching = Watching([name])

    async def look() -> tuple[str, str, str]:
        async with Page(1000, 800) as page:
            await page.open(watching.server.url)
            await page.wait_for(HAS_PICTURES)
            heading = await page.evaluate("document.querySelector('h2').textContent")
            answer = await page.evaluate("document.querySelector('.answers .text').textContent")
            return heading, answer, await page.evaluate("document.title")

    try:
        with feeding(watching.server, [answered_frame(name, TIMINGS, text=text)]):
            assert asyncio.run(look()) == (name, text, "PaliJet")
    finally:
        watching.server.close()


def test_states_sinks_and_changes_are_told() -> None:
    watching = Watching(["gate", "door"])
    gate, door = watching.status.cameras
    lost = replace(door, state=CameraState.RECONNECTING, reason="no frame for 5.0 s", since=time.time() - 3700)
    watching.status = replace(watching.status, cameras=(gate, lost))

    async def look() -> dict[str, str]:
        async with Page(1000, 800) as page:
            await page.open(watching.server.url)
            await page.wait_for("document.querySelectorAll('.camera').length === 2")
            watching.server.changed(
                StateChange("door", time.time(), CameraState.LIVE, CameraState.RECONNECTING, "no frame", 84.0)
            )
            await page.wait_for("document.querySelectorAll('#changes li').length === 1")
            selectors = ("#summary", "[data-state=reconnecting]", "#sinks", "#changes", "#connection")
            return {one: await page.evaluate(f"document.querySelector('{one}').innerText") for one in selectors}

    try:
        told = asyncio.run(look())
    finally:
        watching.server.close()
    assert told["#summary"].startswith("1 of 2 live")
    assert {"door", "reconnecting", "1 h 1 min", "no frame for 5.0 s"} <= set(
        told["[data-state=reconnecting]"].split("\n")
    )
    assert told["#sinks"] == "mqtt broker: 9 delivered, 4 queued, 3 failed (refused)"
    assert "door is reconnecting: no frame (was live for 1 min 24 s)" in told["#changes"]
    assert told["#connection"] == "connected"


def test_without_the_token_the_page_is_refused_and_with_it_the_address_is_clean() -> None:
    watching = Watching(["gate"], PageOptions(port=0, token="correct-horse-battery"))
    url = watching.server.url

    async def look() -> tuple[str, str]:
        async with Page(1000, 800) as page:
            await page.open(url.partition("?")[0])
            await page.wait_for("document.body !== null && document.body.innerText !== ''")
            refused = await page.evaluate("document.body.innerText")
            assert await page.evaluate("fetch('/cameras/gate.jpg').then((answer) => answer.status)") == 401
            assert await page.evaluate("fetch('/status').then((answer) => answer.status)") == 401
            await page.open(url)
            await page.wait_for(HAS_PICTURES)
            assert await page.evaluate("document.cookie") == ""  # no script reads it
            return refused, await page.evaluate("location.href")

    try:
        with feeding(watching.server, [answered_frame("gate", TIMINGS)]):
            refused, address = asyncio.run(look())
    finally:
        watching.server.close()
    assert refused.startswith("the token is missing or wrong")
    assert address == url.partition("?")[0]


def test_the_page_comes_back_when_the_server_does() -> None:
    options = PageOptions(port=free_port())

    async def look() -> None:
        async with Page(1000, 800) as page:
            first = Watching(["gate"], options)
            try:
                await page.open(first.server.url)
                await page.wait_for("document.getElementById('connection')?.innerText === 'connected'")
            finally:
                first.server.close()
            await page.wait_for(
                "document.getElementById('connection')?.innerText === 'the server is gone; trying again'"
            )
            second = Watching(["gate", "door"], options)
            try:
                await page.wait_for("document.querySelectorAll('.camera').length === 2")
                await page.wait_for("document.getElementById('connection')?.innerText === 'connected'")
            finally:
                second.server.close()

    asyncio.run(look())


def distance(picture: np.ndarray, x: float, y: float, colour: np.ndarray) -> float:
    """Of the colour that comes nearest to `colour`, within two pixels of a place; 0 to 441."""
    column, row = round(x), round(y)
    pixels = picture[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3].reshape(-1, 3).astype(float)
    return float(np.linalg.norm(pixels - colour, axis=1).min())
