"""What the page's server answers: the page itself, pictures, news over a WebSocket, /status, /metrics and health."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from aiohttp import web

from ..metrics import CONTENT_TYPE, Metrics
from .access import Access
from .health import why_not_ready, why_unhealthy
from .messages import Message, Messages
from .options import PageOptions
from .picture import Picture

if TYPE_CHECKING:
    from ..watch.status import WatchStatus

_STATUS_EVERY_S = 1.0
_HEARTBEAT_S = 30.0  # a listener that does not answer a ping of this rhythm is gone
_UNREAD_S = 30.0  # a viewer that takes no picture for so long is gone
_UNSENT_BYTES = 16384  # that the kernel may hold back for a slow viewer: pictures in there are old when they arrive
_ASSETS = {"page.html": "text/html", "page.js": "text/javascript", "page.css": "text/css"}
_SEPARATOR = b"--frame\r\n"  # between the parts of an MJPEG

Value = TypeVar("Value")


class Site:
    """The routes, and what they show. All of it but `picture` belongs to the event loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: PageOptions,
        status: Callable[[], WatchStatus],
        metrics: Metrics,
    ) -> None:
        """status: called on a worker thread whenever somebody asks."""
        self.access = Access(options)
        self.messages = Messages(loop)
        self._loop = loop
        self._options = options
        self._status = status
        self._metrics = metrics
        self._pictures: dict[str, Picture] = {}
        self._assets = {name: Path(__file__).with_name(name).read_bytes() for name in _ASSETS}

    def app(self) -> web.Application:
        """All routes, behind `access`."""
        app = web.Application()
        self.access.protect(app)
        app.router.add_get("/", self._page)
        app.router.add_get("/{name:page\\.(js|css)}", self._asset)
        app.router.add_get("/cameras/{camera:[^/]+}.jpg", self._jpeg)
        app.router.add_get("/cameras/{camera:[^/]+}.mjpg", self._mjpeg)
        app.router.add_get("/results", self._results)
        app.router.add_get("/status", self._status_json)
        app.router.add_get("/metrics", self._metrics_text)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        return app

    def picture(self, camera: str) -> Picture:
        """The camera's. From any thread."""
        return self._pictures.get(camera) or self._pictures.setdefault(camera, Picture(self._loop, self._options))

    def close(self) -> None:
        """Wake nobody any more; before the loop ends."""
        self.messages.close()
        for picture in list(self._pictures.values()):
            picture.close()

    async def _page(self, request: web.Request) -> web.Response:
        return self._file("page.html")

    async def _asset(self, request: web.Request) -> web.Response:
        return self._file(request.match_info["name"])

    def _file(self, name: str) -> web.Response:
        return web.Response(body=self._assets[name], content_type=_ASSETS[name], charset="utf-8")

    async def _jpeg(self, request: web.Request) -> web.Response:
        picture = await self._asked(request)
        if picture.number == 0:
            raise web.HTTPNotFound(text="no frame of this camera has been answered yet\n")
        _, jpeg = await picture.after(0)
        return web.Response(body=jpeg, content_type="image/jpeg")

    async def _mjpeg(self, request: web.Request) -> web.StreamResponse:
        picture = await self._asked(request)
        response = web.StreamResponse(headers={"Content-Type": "multipart/x-mixed-replace; boundary=frame"})
        await response.prepare(request)
        _send_no_sooner_than_read(request)
        number, separator = 0, _SEPARATOR
        while True:
            number, jpeg = await picture.after(number)
            head = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
            # A browser shows a picture once it has the separator behind it.
            part = separator + head + jpeg + b"\r\n" + _SEPARATOR
            try:
                await asyncio.wait_for(response.write(part), _UNREAD_S)
            except asyncio.TimeoutError:
                if request.transport is not None:
                    request.transport.abort()
                return response
            separator = b""

    async def _asked(self, request: web.Request) -> Picture:
        """Of the camera that is asked for."""
        name = request.match_info["camera"]
        if name not in {camera.name for camera in (await self._snapshot()).cameras}:
            self._pictures.pop(name, None)  # it was there before a reload
            raise web.HTTPNotFound(text="there is no such camera\n")
        return self.picture(name)

    async def _results(self, request: web.Request) -> web.WebSocketResponse:
        listener = web.WebSocketResponse(heartbeat=_HEARTBEAT_S, compress=False, max_msg_size=1024)
        await listener.prepare(request)
        number, messages = self.messages.last()  # before the status, so that no change falls between the two
        await self._say_status(listener)
        acts = (_hear(listener), self._tell_news(listener, number, messages), self._tell_status(listener))
        tasks = [asyncio.create_task(act) for act in acts]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, ConnectionError):  # who goes, goes
                raise outcome
        return listener

    async def _tell_news(self, listener: web.WebSocketResponse, number: int, messages: list[Message]) -> None:
        """messages: to begin with; then those above `number`."""
        while True:
            for message in messages:
                await listener.send_str(message.text)
            messages = await self.messages.after(number)
            number = messages[-1].number

    async def _tell_status(self, listener: web.WebSocketResponse) -> None:
        while True:
            await asyncio.sleep(_STATUS_EVERY_S)
            await self._say_status(listener)

    async def _say_status(self, listener: web.WebSocketResponse) -> None:
        await listener.send_str(json.dumps({"type": "status", **_dated(await self._snapshot())}))

    async def _status_json(self, request: web.Request) -> web.Response:
        return web.json_response(_dated(await self._snapshot()))

    async def _metrics_text(self, request: web.Request) -> web.Response:
        return web.Response(body=await self._aside(self._metrics.text), headers={"Content-Type": CONTENT_TYPE})

    async def _healthz(self, request: web.Request) -> web.Response:
        return _verdict(why_unhealthy(await self._snapshot(), self._options.stuck_s))

    async def _readyz(self, request: web.Request) -> web.Response:
        return _verdict(why_not_ready(await self._snapshot(), self._options.stuck_s))

    def _snapshot(self) -> Awaitable[WatchStatus]:
        return self._aside(self._status)

    def _aside(self, call: Callable[[], Value]) -> Awaitable[Value]:
        """On a worker thread, so that nobody else waits for it."""
        return self._loop.run_in_executor(None, call)


async def _hear(listener: web.WebSocketResponse) -> None:
    """Until the listener goes; what it says is not wanted."""
    async for _ in listener:
        pass


def _dated(status: WatchStatus) -> dict[str, object]:
    """With the time by this machine's clock, for a browser's may be wrong."""
    return {"at": time.time(), **status.to_dict()}


def _verdict(reason: str | None) -> web.Response:
    return web.Response(text=f"{reason or 'ok'}\n", status=503 if reason else 200)


def _send_no_sooner_than_read(request: web.Request) -> None:
    """Hold the next picture back until the one before has gone out, so that a slow viewer sees few pictures, but new ones."""
    if request.transport is None:
        return
    request.transport.set_write_buffer_limits(high=0)
    connection = request.transport.get_extra_info("socket")
    if connection is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
