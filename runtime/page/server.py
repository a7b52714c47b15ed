"""The page's HTTP server, on a thread of its own with its own event loop.

Answered frames and changes of state come from other threads and are only noted; what is shown is made when somebody looks.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from ..cameras.status import StateChange
from ..errors import SinkError
from .messages import Answers
from .options import PageOptions

try:
    from aiohttp import web
except ImportError:
    raise SinkError("aiohttp is not installed; run: pip install 'palijet[page]'") from None

from .site import Site

if TYPE_CHECKING:
    from ..metrics import Metrics
    from ..sinks.sink import AnsweredFrame
    from ..watch.status import WatchStatus

_WORKERS = 2  # threads that draw, compress and count for all viewers together
_GOODBYE_S = 0.5  # for answers that are under way when it closes


class PageServer:
    """`start` it, give it what is answered, `close` it."""

    def __init__(self, options: PageOptions, status: Callable[[], WatchStatus], metrics: Metrics) -> None:
        """status: called on a thread of the server's, whenever somebody asks."""
        self._options = options
        self._loop = asyncio.new_event_loop()
        self._site = Site(self._loop, options, status, metrics)
        self._port: Future[int] = Future()  # that it is bound to
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="palijet-page", daemon=True)

    def start(self) -> None:
        """Serve, until `close`.

        Raises:
            SinkError: the port is taken, or the address is none of this machine.
        """
        self._thread.start()
        try:
            self._port.result()
        except OSError as error:
            self._thread.join()
            raise SinkError(_why_not_bound(self._options, error)) from None

    @property
    def url(self) -> str:
        """The page's address, with the token where one is asked for."""
        host = self._options.host
        if host in ("", "0.0.0.0", "::"):
            host = socket.gethostname()
        token = f"?token={self._site.access.token}" if self._site.access.token else ""
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port.result()}/{token}"

    def answered(self, answered: AnsweredFrame) -> None:
        """Show a frame with its answers. From any thread; never blocks."""
        self._site.picture(answered.camera).put(answered)
        self._site.messages.put(Answers(answered.camera, answered.results))

    def changed(self, change: StateChange) -> None:
        """Tell of a camera's new state. From any thread; never blocks."""
        self._site.messages.put(change)

    def close(self) -> None:
        """Let all viewers go and give back the port; what comes afterwards is shown to nobody."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()

    def _run(self) -> None:
        self._loop.set_default_executor(ThreadPoolExecutor(_WORKERS, "palijet-page-worker"))
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._site.close()
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _serve(self) -> None:
        runner = web.AppRunner(
            self._site.app(), access_log=None, handler_cancellation=True, shutdown_timeout=_GOODBYE_S
        )
        try:
            await runner.setup()
            await web.TCPSite(runner, self._options.host, self._options.port).start()
            self._port.set_result(runner.addresses[0][1])
            await self._closing.wait()
        except Exception as error:
            if self._port.done():
                raise
            self._port.set_exception(error)  # for `start`
        finally:
            await runner.cleanup()


def _why_not_bound(options: PageOptions, error: OSError) -> str:
    where = f"port {options.port} of {options.host}"
    if error.errno == errno.EADDRINUSE:
        return f"the page cannot be served: {where} is taken; give another, or 0 for any that is free"
    if error.errno == errno.EACCES:
        return f"the page cannot be served: {where} is kept for root; give one above 1023"
    reason = os.strerror(error.errno or 0) if (error.errno or 0) in errno.errorcode else error.strerror or str(error)
    return f"the page cannot be served at {where}: {reason}; give 127.0.0.1, 0.0.0.0 or an address of this machine"
