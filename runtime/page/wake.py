"""Wakes an event loop's coroutines from other threads, however often it is called and however slow the loop is."""

from __future__ import annotations

import asyncio
import threading


class Wake:
    """Many calls before the loop comes round are one, so nothing piles up where the loop is held up."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._called = False
        self._closed = False
        self._event = asyncio.Event()

    def call(self) -> None:
        """Wake who waits. From any thread; never blocks; after `close` it does nothing."""
        with self._lock:
            if not self._called and not self._closed:
                self._called = True
                self._loop.call_soon_threadsafe(self._wake)

    async def wait(self) -> None:
        """Until the next call."""
        await self._event.wait()

    def close(self) -> None:
        """Before the loop ends."""
        with self._lock:
            self._closed = True

    def _wake(self) -> None:
        with self._lock:
            self._called = False
        woken, self._event = self._event, asyncio.Event()
        woken.set()
