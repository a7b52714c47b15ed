"""What runs in the capture process: a reader's pictures go into shared memory, and its words to the parent."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import socket
import threading
from collections import deque
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from ..cameras.options import CameraOptions
from ..sources.uri import SourceKind, SourceUri, parse_uri, register
from .picture_statistics import picture_statistics
from .protocol import BUFFER_BYTES, BUFFERS, Captured, Ended, Failed, FromParent, FromProcess, Open, Release
from .reader import CaptureError, Picture, Reader

PR_SET_PDEATHSIG = 1  # linux/prctl.h
MESSAGE_BYTES = 64 * 1024
GRACE_S = 1.0  # to take leave of the camera after the parent has closed its end


def capture(socket_descriptor: int, memory_descriptor: int) -> None:
    """Capture what the parent's first message names, until that ends, fails, or the parent goes."""
    # A reader may hang in a driver with every lock of Python's: then only the kernel can end this process with its parent.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = _Parent(socket.socket(fileno=socket_descriptor), memory_descriptor)
    opening = parent.first_message()
    if opening is None:
        return
    if opening.factory:
        register(opening.uri.partition("://")[0], opening.factory)
    uri = replace(parse_uri(opening.uri), loop=opening.loop)
    options = msgspec.convert(opening.options, CameraOptions)
    threading.Thread(target=parent.listen, name="palijet-parent", daemon=True).start()
    with ExitStack() as leaving:  # after the parent has been told, for a reader can hang while it is closed
        try:
            reader = open_reader(uri, options)
            leaving.callback(reader.close)
            _pass_on(reader, parent)
        except CaptureError as failure:
            parent.say(Failed(failure.kind, failure.reason))


def open_reader(uri: SourceUri, options: CameraOptions) -> Reader:
    """The reader for a source: GStreamer's where that is there and has what it takes, else OpenCV's; a file's own.

    Raises:
        CaptureError: neither can.
    """
    from .opencv import OpenCvReader
    from .paced import PacedReader

    if uri.kind in (SourceKind.PATH, SourceKind.FOLDER, SourceKind.REGISTERED):
        return PacedReader(uri, options)
    if options.reader == "opencv":
        return OpenCvReader(uri, options)
    from .gstreamer import GStreamerReader

    try:
        return GStreamerReader(uri, options)
    except CaptureError as failure:
        if options.reader == "gstreamer" or failure.kind != "plugin" or not OpenCvReader.reads(uri):
            raise
    return OpenCvReader(uri, options)


def _pass_on(reader: Reader, parent: _Parent) -> None:
    number = 0
    while not parent.gone.is_set():
        got = reader.read()
        if isinstance(got, Picture):
            if (place := parent.take_place()) is not None:
                parent.say(parent.put(place, number, got))
            number += 1
        elif got is not None:
            parent.say(got)
        if isinstance(got, Ended):
            return


class _Parent:
    """The other end: what is said to it, and the memory shared with it."""

    def __init__(self, connection: socket.socket, memory: int) -> None:
        self._socket = connection
        self._memory: Any = mmap.mmap(memory, BUFFERS * BUFFER_BYTES)
        self._free = deque(range(BUFFERS))  # appended to by the thread that listens
        self._from_parent: msgspec.msgpack.Decoder[FromParent] = msgspec.msgpack.Decoder(FromParent)
        self.gone = threading.Event()

    def first_message(self) -> Open | None:
        """None: it has gone already."""
        message = self._socket.recv(MESSAGE_BYTES)
        opening = self._from_parent.decode(message) if message else None
        return opening if isinstance(opening, Open) else None

    def listen(self) -> None:
        """Free the places that it gives back; when it goes, see that this process goes too."""
        while message := self._heard():
            told = self._from_parent.decode(message)
            if isinstance(told, Release):
                self._free.append(told.place)
        self.gone.set()
        threading.Event().wait(GRACE_S)
        os._exit(0)

    def take_place(self) -> int | None:
        """A free one; None: the parent has not given any back."""
        return self._free.popleft() if self._free else None

    def put(self, place: int, number: int, picture: Picture) -> Captured:
        """Write a picture into its place."""
        height, width = picture.image.shape[:2]
        if width * height * 3 > BUFFER_BYTES:
            raise CaptureError(
                "other", f"the picture is {width} x {height}, more than 8K; scale it by width and height"
            )
        shared = np.frombuffer(self._memory, np.uint8, width * height * 3, place * BUFFER_BYTES).reshape(
            height, width, 3
        )
        np.copyto(shared, picture.image)
        told = picture_statistics(shared)
        return Captured(
            place=place,
            number=number,
            width=width,
            height=height,
            captured_at=picture.captured_at,
            captured_monotonic=picture.captured_monotonic,
            digest=told.digest,
            mean=told.mean,
            deviation=told.deviation,
        )

    def say(self, message: FromProcess) -> None:
        """A parent that has gone hears nothing, and `listen` ends this process."""
        try:
            self._socket.send(msgspec.msgpack.encode(message))
        except (BrokenPipeError, ConnectionResetError):
            self.gone.set()

    def _heard(self) -> bytes:
        try:
            return self._socket.recv(MESSAGE_BYTES)
        except ConnectionResetError:
            return b""
