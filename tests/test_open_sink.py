"""Sinks by their addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from palijet.runtime.errors import PaliJetError
from palijet.runtime.sinks.json_lines import JsonLines
from palijet.runtime.sinks.mqtt import Mqtt
from palijet.runtime.sinks.open_sink import SinkSetting, open_sink
from palijet.runtime.sinks.snapshots import Snapshots
from palijet.runtime.sinks.video import Video
from palijet.runtime.sinks.webhook import Webhook

LIVE = SinkSetting(live=True, cameras=2, fps=10, panel_lines=3)


def test_lines_go_to_standard_output_or_to_a_file(tmp_path: Path) -> None:
    out = open_sink("-")
    assert isinstance(out, JsonLines)
    assert out.options.path is None
    lines = open_sink(f"{tmp_path}/results.jsonl", {"max_bytes": 1000, "keep": 2}, LIVE)
    assert isinstance(lines, JsonLines)
    assert (lines.options.append, lines.options.max_bytes, lines.options.keep) == (True, 1000, 2)
    once = open_sink(f"lines:{tmp_path}/results.txt")
    assert isinstance(once, JsonLines)
    assert not once.options.append


def test_a_video_follows_the_setting_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    video = open_sink(f"{tmp_path}/out.mp4", {"segment_s": 60, "fps": 5}, LIVE)
    assert isinstance(video, Video)
    told = video.options
    assert (told.timed, told.per_camera, told.panel_lines, told.segment_s, told.fps) == (True, True, 3, 60, 5)


def test_brokers_receivers_and_folders_are_known_by_their_addresses(tmp_path: Path) -> None:
    mqtt = open_sink("mqtts://cam:pw@broker/hall", {"discovery": "", "ca_file": "ca.pem", "spool_messages": 10})
    assert isinstance(mqtt, Mqtt)
    assert (mqtt.options.prefix, mqtt.options.ca_file, mqtt.options.spool.max_messages) == ("hall", Path("ca.pem"), 10)
    webhook = open_sink("https://example.org/hook", {"secret": "x", "spool": f"{tmp_path}/s.sqlite"})
    assert isinstance(webhook, Webhook)
    assert webhook.options.spool.path == tmp_path / "s.sqlite"
    snapshots = open_sink(f"snapshots:{tmp_path}/shots", {"keep": 5})
    assert isinstance(snapshots, Snapshots)
    assert (snapshots.options.folder, snapshots.options.keep) == (tmp_path / "shots", 5)


@pytest.mark.parametrize(
    ("address", "options", "sentence"),
    [
        (
            "results.csv",
            {},
            "results.csv is no sink; give -, FILE.jsonl, lines:FILE, FILE.mp4, snapshots:FOLDER, ",
        ),
        ("", {}, "is no sink; give -"),
        ("snapshots:", {}, "is no sink; give -"),
        ("amqp://me:hidden@host/x", {}, "amqp://host is no sink; give -"),
        ("mqtt://me:hidden@host:x", {}, "has a port that is none; give 1 to 65535"),
        ("mqtt://[::1", {}, "is no address"),
        ("mqtt://me:hidden@host", {"topic": "x"}, "mqtt://host has no option topic; it has ack_s"),
        ("https://", {}, "give http://host/path or https://host/path"),
        ("https://[::1", {}, "is no address"),
        ("-", {"keep": 0}, "keep is 0; give a number above 0"),
        ("no/such/folder/out.jsonl", {}, "cannot be written; give a file in a folder that is there"),
        ("no/such/folder/out.mp4", {}, "there is no folder"),
    ],
)
def test_bad_ones_are_one_sentence_without_the_password(address: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PaliJetError) as caught:
        open_sink(address, options)
    assert sentence in str(caught.value)
    assert "hidden" not in str(caught.value)
