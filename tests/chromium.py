"""A headless Chromium that tests drive by its DevTools protocol (https://chromedevtools.github.io/devtools-protocol)."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
import cv2
import numpy as np
import pytest

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


def find_chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("Chromium is not installed: apt install chromium")
    return found


class Page:
    """One tab, in an `async with`."""

    def __init__(self, width: int, height: int) -> None:
        self._size = (width, height)
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> Page:
        self._profile = tempfile.TemporaryDirectory(prefix="palijet-chromium-", ignore_cleanup_errors=True)
        command = [find_chromium(), *_FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._session = aiohttp.ClientSession()
        port = await self._port()
        async with self._session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            tab = next(tab for tab in await answer.json() if tab["type"] == "page")
        self._socket = await self._session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0)
        width, height = self._size
        await self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()
        self._process.terminate()
        self._process.wait(30)
        self._profile.cleanup()

    async def open(self, url: str) -> None:
        await self._call("Page.navigate", url=url)

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, which may be a promise."""
        answer = await self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def wait_for(self, expression: str, deadline_s: float = 60.0) -> None:
        """Until the expression is true."""
        end = time.monotonic() + deadline_s
        while not await self.evaluate(expression):
            assert time.monotonic() < end, f"{expression} is not true after {deadline_s:.0f} s"
            await asyncio.sleep(0.1)

    async def screenshot(self) -> np.ndarray:
        """[height, width, 3] uint8 BGR."""
        answer = await self._call("Page.captureScreenshot", format="png")
        png = np.frombuffer(base64.b64decode(answer["data"]), np.uint8)
        return np.asarray(cv2.imdecode(png, cv2.IMREAD_COLOR))

    async def _port(self) -> int:
        """Of the DevTools, which Chromium writes down once it listens."""
        file = Path(self._profile.name) / "DevToolsActivePort"
        end = time.monotonic() + 60
        while not (file.exists() and "\n" in file.read_text()):
            assert self._process.poll() is None, "Chromium ended"
            assert time.monotonic() < end, "Chromium does not listen"
            await asyncio.sleep(0.1)
        return int(file.read_text().splitlines()[0])

    async def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_str(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:  # events come in between
            answer = json.loads(await self._socket.receive_str(timeout=60))
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
