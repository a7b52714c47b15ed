"""What Home Assistant is told so that it finds cameras and answers by itself.

The fields are those of its documentation: home-assistant.io/integrations/mqtt (discovery), sensor.mqtt and binary_sensor.mqtt.
"""

from __future__ import annotations

import json
import re
import zlib
from importlib.metadata import version
from typing import Any

_LONGEST_STATE = 255  # characters; Home Assistant takes no longer ones


def prompt_sensor(prefix: str, camera: str, prompt: str) -> tuple[str, dict[str, Any]]:
    """The last answer of a camera to a prompt. Topic below the discovery prefix, and its message.

    All prompts of a camera share a topic, so another prompt's result leaves the state as it is. It is there while that is live.
    """
    unique = f"{_slug(prefix)}_{_slug(camera)}_{_slug(prompt)}"
    config = {
        "name": prompt,
        "unique_id": unique,
        "state_topic": f"{prefix}/{camera}/result",
        "value_template": (
            f"{{{{ value_json.text[:{_LONGEST_STATE}] if value_json.prompt == {json.dumps(prompt, ensure_ascii=False)}"
            " else this.state }}"
        ),
        "availability": [
            {"topic": f"{prefix}/availability"},
            {
                "topic": f"{prefix}/{camera}/state",
                "value_template": "{{ 'online' if value_json.state == 'live' else 'offline' }}",
            },
        ],
        "availability_mode": "all",
        **_block(prefix, camera),
    }
    return f"sensor/{unique}/config", config


def live_sensor(prefix: str, camera: str) -> tuple[str, dict[str, Any]]:
    """Whether a camera is live. Topic below the discovery prefix, and its message."""
    unique = f"{_slug(prefix)}_{_slug(camera)}_live"
    config = {
        "name": "live",
        "unique_id": unique,
        "device_class": "connectivity",
        "state_topic": f"{prefix}/{camera}/state",
        "value_template": "{{ 'ON' if value_json.state == 'live' else 'OFF' }}",
        "json_attributes_topic": f"{prefix}/{camera}/state",
        "availability": [{"topic": f"{prefix}/availability"}],
        **_block(prefix, camera),
    }
    return f"binary_sensor/{unique}/config", config


def _block(prefix: str, camera: str) -> dict[str, Any]:
    """Which device it is of, and who says so."""
    return {
        "qos": 1,
        "device": {
            "identifiers": [f"{_slug(prefix)}_{_slug(camera)}"],
            "name": camera,
            "manufacturer": "PaliJet",
            "model": "camera",
        },
        "origin": {"name": "PaliJet", "sw_version": version("palijet")},
    }


def _slug(text: str) -> str:
    """Of the letters that an id may have; texts that differ only in others stay apart."""
    plain = re.sub(r"[^a-zA-Z0-9_-]+", "_", text)[:40]
    return plain if plain == text else f"{plain}_{zlib.crc32(text.encode()):08x}"
