"""A sink by its address, as the command line and cameras.toml give it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import InputError
from .json_lines import JsonLines, JsonLinesOptions
from .mqtt import Mqtt, MqttOptions
from .sink import Sink
from .snapshots import SnapshotOptions, Snapshots
from .spool_options import SpoolOptions
from .video import Video, VideoOptions
from .webhook import Webhook, WebhookOptions

ADDRESSES = "-, FILE.jsonl, lines:FILE, FILE.mp4, snapshots:FOLDER, mqtt://host/prefix, mqtts://host/prefix or https://host/path"


@dataclass(frozen=True)
class SinkSetting:
    """What a run tells its sinks, where their own options do not say otherwise."""

    live: bool = False  # cameras: files are appended to, and video follows the clock
    cameras: int = 1
    fps: float = 25.0  # of a video
    panel_lines: int = 0  # of a video, below the picture


def open_sink(address: str, options: Mapping[str, Any] | None = None, setting: SinkSetting | None = None) -> Sink:
    """The sink of an address; nothing is connected or created yet.

    options: fields of the sink's own options; spool, spool_messages and spool_bytes of one that spills.

    Raises:
        InputError: the address is none, or there is no such option or value.
        SinkError: a file cannot be written, or a library is missing.
    """
    given = {name: value for name, value in (options or {}).items() if value is not None}
    setting = setting or SinkSetting()
    match _kind(address):
        case "mqtt":
            _check(address, given, MqttOptions, said_by_address={"host", "port", "tls"})
            return Mqtt(MqttOptions.of(address, **_converted(given)))
        case "webhook":
            _check(address, given, WebhookOptions, said_by_address={"url"})
            return Webhook(WebhookOptions(url=address, **_converted(given)))
        case "snapshots":
            _check(address, given, SnapshotOptions, said_by_address={"folder"})
            return Snapshots(SnapshotOptions(folder=Path(address.removeprefix("snapshots:")), **given))
        case "video":
            _check(address, given, VideoOptions, said_by_address={"path"})
            usual = {"fps": setting.fps, "timed": setting.live, "per_camera": setting.cameras > 1}
            lines = {"panel_lines": setting.panel_lines}
            return Video(VideoOptions(path=Path(address), **{**usual, **lines, **given}))
        case "lines":
            _check(address, given, JsonLinesOptions, said_by_address={"path"})
            path = None if address == "-" else Path(address.removeprefix("lines:"))
            return JsonLines(JsonLinesOptions(path=path, **{"append": setting.live, **given}))
    raise InputError(f"{_safe(address)} is no sink; give {ADDRESSES}")


def _kind(address: str) -> str:
    scheme = address.partition("://")[0].lower() if "://" in address else ""
    suffix = Path(address).suffix.lower()
    if scheme:
        return {"mqtt": "mqtt", "mqtts": "mqtt", "http": "webhook", "https": "webhook"}.get(scheme, "")
    for kind in ("snapshots", "lines"):
        if address.startswith(f"{kind}:"):
            return kind if address != f"{kind}:" else ""
    if suffix == ".mp4":
        return "video"
    return "lines" if address == "-" or suffix in (".jsonl", ".ndjson") else ""


def _check(address: str, given: Mapping[str, Any], kind: type[Any], *, said_by_address: set[str]) -> None:
    known = {field.name for field in fields(kind)} - said_by_address
    if "spool" in known:
        known |= {"spool_messages", "spool_bytes"}
    if unknown := sorted(set(given) - known):
        raise InputError(f"{_safe(address)} has no option {unknown[0]}; it has {', '.join(sorted(known))}")


def _converted(given: Mapping[str, Any]) -> dict[str, Any]:
    """Paths as such, and the spool's three options as one."""
    rest = {name: Path(value) if name.endswith("_file") else value for name, value in given.items()}
    spool: dict[str, Any] = {}
    for name, field_name in (("spool", "path"), ("spool_messages", "max_messages"), ("spool_bytes", "max_bytes")):
        if name in rest:
            spool[field_name] = rest.pop(name)
    if "path" in spool:
        spool["path"] = Path(spool["path"])
    return {**rest, "spool": SpoolOptions(**spool)}


def _safe(address: str) -> str:
    """Without what may be a password."""
    scheme, between, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('/')[0]}" if between else address
