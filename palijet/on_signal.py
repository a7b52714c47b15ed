"""A signal that may come before there is anything to do about it, as one that asks for a reload while the model loads."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import TracebackType


class OnSignal:
    """Used in a `with`, on the main thread; what the signal did before, it does again afterwards."""

    def __init__(self, number: signal.Signals) -> None:
        self._number = number
        self._do: Callable[[], None] | None = None
        self._came = False

    def then(self, do: Callable[[], None]) -> None:
        """Do this when the signal comes, and at once where it has come already.

        It runs on a thread of its own, since the main one may hold the locks that it needs.
        """
        self._do = do
        if self._came:
            self._came = False
            self._begin(do)

    @property
    def was_ignored(self) -> bool:
        """By who started this process, as nohup does with SIGHUP."""
        return self._before == signal.SIG_IGN

    def __enter__(self) -> OnSignal:
        self._before = signal.signal(self._number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(self._number, self._before)

    def _handle(self, *_: object) -> None:
        if self._do is None:
            self._came = True
        else:
            self._begin(self._do)

    def _begin(self, do: Callable[[], None]) -> None:
        threading.Thread(target=do, name=f"palijet-{self._number.name.lower()}", daemon=True).start()
