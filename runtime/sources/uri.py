"""A source's address, parsed: what kind of source it names, and how it may be shown, for an address can hold a password."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from importlib.metadata import entry_points
from urllib.parse import parse_qs, unquote, urlsplit

from ..errors import SourceError

ENCODINGS = ("H264", "H265", "JPEG")  # that rtp:// can carry
MEND = "give a picture, a video, a folder, a camera's index, or an address such as rtsp://HOST/PATH"


class SourceKind(str, Enum):
    """What an address names."""

    PATH = "path"  # a picture, a video file or a folder: the file system knows which
    FOLDER = "folder"
    DEVICE = "device"  # a camera at USB or the like: /dev/video0
    CSI = "csi"  # a camera at a Jetson's own connector
    RTSP = "rtsp"
    RTP = "rtp"
    HTTP = "http"  # Motion JPEG, HLS
    PIPELINE = "pipeline"  # GStreamer's words, by the user
    REGISTERED = "registered"  # of a part that called `register`


@dataclass(frozen=True)
class SourceUri:
    """An address and its parts. `shown` is what logs, results and errors may say; the rest can hold secrets."""

    kind: SourceKind
    scheme: str
    shown: str  # without user, password and secrets of the query
    text: str = field(repr=False)  # whole
    address: str = field(repr=False, default="")  # without user and password; of gst://: the pipeline
    user: str = field(repr=False, default="")
    password: str = field(repr=False, default="")
    path: str = field(repr=False, default="")  # of a file, a folder or a device; the number of a CSI camera
    host: str = ""
    port: int | None = None
    encoding: str = ""  # of RTP
    watch: bool = False  # a folder: wait for new pictures
    loop: bool = False  # a file in real time: begin again at its end
    factory: str = ""  # of a registered source: "module:function"

    @property
    def has_end(self) -> bool:
        """Whether coming to the end is no fault: a file, or the pictures of a folder, played once."""
        return self.kind in (SourceKind.PATH, SourceKind.FOLDER) and not self.loop and not self.watch


_SCHEMES = {
    "file": SourceKind.PATH,
    "dir": SourceKind.FOLDER,
    "v4l2": SourceKind.DEVICE,
    "csi": SourceKind.CSI,
    "rtsp": SourceKind.RTSP,
    "rtsps": SourceKind.RTSP,
    "rtp": SourceKind.RTP,
    "http": SourceKind.HTTP,
    "https": SourceKind.HTTP,
    "gst": SourceKind.PIPELINE,
}
ENTRY_POINTS = "palijet.sources"  # by which a package registers a scheme when it is installed
_registered: dict[str, str] = {}


def register(scheme: str, factory: str) -> None:
    """Let `scheme://…` name a source of another part, which is played as a live one.

    factory: "module:function", importable, for it is called in the capture process. It is given the address and returns a
    Source, whose frames are played at its `fps`, from the beginning again at its end.
    """
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) or scheme in _SCHEMES or factory.count(":") != 1:
        raise SourceError(f"{scheme}:// cannot be registered for {factory}; give a new scheme and 'module:function'")
    _registered[scheme] = factory


def _registered_schemes() -> dict[str, str]:
    """Of installed packages and of this process: scheme -> "module:function"."""
    return {**_installed_schemes(), **_registered}


@cache
def _installed_schemes() -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}


def parse_uri(text: str) -> SourceUri:
    """The parts of an address. Nothing is opened, and no file is looked for.

    Raises:
        SourceError: it is no address of a source; the sentence holds no password.
    """
    if not text:
        raise SourceError(f"the source is empty; {MEND}")
    if not text.isprintable():
        raise SourceError(f"the source holds a character that cannot be printed; {MEND}")
    if re.fullmatch(r"[0-9]+", text):
        return _device(text, "v4l2", f"/dev/video{int(text)}")
    if re.fullmatch(r"/dev/video[0-9]+", text):
        return _device(text, "v4l2", text)
    scheme, separator, rest = text.partition("://")
    if not separator or not re.fullmatch(r"\w[\w+.-]*", scheme):
        return _bare_path(text)
    scheme = scheme.lower()
    if factory := _registered_schemes().get(scheme):
        return SourceUri(SourceKind.REGISTERED, scheme, redact(text), text, text, factory=factory)
    kind = _SCHEMES.get(scheme)
    if kind is None:
        near = difflib.get_close_matches(scheme, [*_SCHEMES, *_registered_schemes()])
        near.sort(key=lambda known: sorted(known) != sorted(scheme))  # swapped letters before missing ones
        raise SourceError(f"{scheme}:// is no source; " + (f"did you mean {near[0]}://?" if near else MEND))
    if kind in (SourceKind.RTSP, SourceKind.HTTP, SourceKind.RTP):
        return _network(kind, scheme, text)
    if kind == SourceKind.FOLDER:
        path, _, query = rest.partition("?")
        settings = parse_qs(query, keep_blank_values=True)
        if unknown := sorted(set(settings) - {"watch"}):
            raise SourceError(
                f"{redact(text)} has a setting {unknown[0]}, and there is only watch: dir://FOLDER?watch=1"
            )
        watch = settings.get("watch", ["0"])[-1] not in ("0", "no", "false")
        return SourceUri(kind, scheme, redact(text), text, text, path=path, watch=watch)
    if kind == SourceKind.DEVICE:
        path = f"/dev/video{int(rest)}" if re.fullmatch(r"[0-9]+", rest) else rest
        if not path.startswith("/dev/"):
            raise SourceError(
                f"{redact(text)} names no device; give v4l2:///dev/video0, as `palijet cameras` lists them"
            )
        return _device(text, scheme, path)
    if kind == SourceKind.CSI:
        if not re.fullmatch(r"[0-9]+", rest):
            raise SourceError(f"{redact(text)} names no camera; give its number: csi://0")
        return SourceUri(kind, scheme, text, text, text, path=rest)
    if kind == SourceKind.PIPELINE:
        if not rest.strip():
            raise SourceError("gst:// has no pipeline; give it as to gst-launch-1.0: gst://videotestsrc is-live=true")
        return SourceUri(kind, scheme, redact(text), text, rest.strip())
    return _bare_path(text, rest)


# What stands before "=" where a secret follows: `?token=…`, `user-pw=…`, `/user=ann_password=…_channel=1.sdp`.
_NAME = r"((?:pass|pwd|pw|token|secret|key|auth|sig|credential|login|user|usr|session)[\w-]*\s*=\s*)"
_QUOTED = r"\"(?:\\.|[^\"\\])*(?:\"|\Z)|'(?:\\.|[^'\\])*(?:'|\Z)"
# A secret may hold any character but those by which its part of an address ends (RFC 3986, section 3); in a query, / and ? as well.
_SECRET = re.compile(rf"{_NAME}(?:(?:{_QUOTED})[^\s&/?#]*|[^\s&/?#]+)", re.I | re.S)
_QUERY = re.compile(r"\?[^\s#]+")
_SECRET_OF_QUERY = re.compile(rf"{_NAME}[^&]+", re.I)
# In a pipeline it ends with its word, as gst-launch-1.0 reads words (GStreamer, gst/parse/parse.l: _string, _assign).
_WORD = re.compile(rf"(?:{_QUOTED}|\\.|\s*=\s*|[^\s\\])+", re.S)
_SECRET_OF_WORD = re.compile(rf"{_NAME}.+", re.I | re.S)
_LOGIN = re.compile(r"[^/\"'=:]*:.*|(?<=://)[^/]*$")


def redact(text: str) -> str:
    """The text with `***` in place of secrets: of an address, or of what a library says about one."""
    text = re.sub(r"\S+", _without_login, text)
    begins = text.lower().find("gst://")
    before, pipeline = (text, "") if begins < 0 else (text[:begins], text[begins:])
    before = _SECRET.sub(r"\1***", before)
    before = _QUERY.sub(lambda query: _SECRET_OF_QUERY.sub(r"\1***", query[0]), before)
    return before + _WORD.sub(lambda word: _SECRET_OF_WORD.sub(r"\1***", word[0]), pipeline)


def _without_login(word: re.Match[str]) -> str:
    before, _, place = word[0].rpartition("@")
    found = _LOGIN.search(before)
    if found is None:
        return word[0]
    scheme, separator, _ = found[0].partition("://")
    return before[: found.start()] + (f"{scheme}://" if separator else "") + place


def _device(text: str, scheme: str, path: str) -> SourceUri:
    return SourceUri(SourceKind.DEVICE, scheme, path, text, path, path=path)


def _bare_path(text: str, path: str | None = None) -> SourceUri:
    for scheme in (*_SCHEMES, *_registered_schemes()):
        if path is None and text.lower().startswith(f"{scheme}:"):
            raise SourceError(f"{scheme}: lacks its slashes; give {scheme}://…")
    path = text if path is None else path
    if not path:
        raise SourceError("file:// has no path; give file:///FOLDER/FILE")
    # An address that lacks its scheme looks like a path, with its password in it.
    shown = f"***@{path.rpartition('@')[2]}" if re.search(r":.*@", path) else redact(path)
    return SourceUri(SourceKind.PATH, "file", shown, text, path, path=path)


def _network(kind: SourceKind, scheme: str, text: str) -> SourceUri:
    try:
        parts = urlsplit(text)
        if "@" in parts.path + parts.query + parts.fragment:
            # What stands before it could be a password with a slash in it, and is not to be shown as a path.
            raise SourceError(f"{scheme}:// has an @ after its first /, ? or #; write / as %2F and @ as %40")
        login, _, place = parts.netloc.rpartition("@")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise SourceError(f"{scheme}:// has a port or a host that is none; give {scheme}://HOST:PORT/PATH") from None
    if kind == SourceKind.RTP:
        if port is None:
            raise SourceError(
                "rtp:// has no port; give the one the stream is sent to: rtp://0.0.0.0:5004?encoding=H264"
            )
    elif not host:
        raise SourceError(f"{scheme}:// has no host; give {scheme}://HOST/PATH")
    encoding = parse_qs(parts.query).get("encoding", ["H264"])[-1].upper()
    if encoding not in ENCODINGS:
        raise SourceError(f"rtp:// cannot carry {redact(encoding)}; give ?encoding={', '.join(ENCODINGS)}")
    user, _, password = login.partition(":")
    tail = text.partition("://")[2][len(parts.netloc) :]
    address = f"{scheme}://{place}{tail}"
    return SourceUri(
        kind,
        scheme,
        redact(address),
        text,
        address,
        user=unquote(user),
        password=unquote(password),
        host=host or "0.0.0.0",
        port=port,
        encoding=encoding if kind == SourceKind.RTP else "",
    )
