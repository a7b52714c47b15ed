"""A real broker on a port of its own, and a client that sees all it is told: mosquitto and paho."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from free_port import free_port
from until import until


class Broker:
    """Mosquitto, to be killed and started again over the same files. Used in a `with`, which starts and kills it."""

    def __init__(self, folder: Path, *lines: str, persistence: bool = True) -> None:
        """lines: more of its configuration; without them anybody may do anything."""
        if shutil.which("mosquitto") is None:
            pytest.skip("mosquitto is not installed: apt install mosquitto")
        self.port = free_port()
        self.folder = folder
        folder.mkdir()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            "\n".join(
                [
                    f"listener {self.port} 127.0.0.1",
                    "user root",
                    f"persistence {str(persistence).lower()}",
                    f"persistence_location {folder}/",
                    "autosave_on_changes true",
                    "autosave_interval 1",  # every change is saved
                    "max_queued_messages 100000",  # 2.0.11 takes 0 for none where it refuses a message
                    "log_dest stderr",
                    "log_type all",
                    *(lines or ["allow_anonymous true"]),
                    "",
                ]
            )
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(["mosquitto", "-c", self._config], stdout=log, stderr=log)
        until(self._answers)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def send(self, how: int) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(how)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def acknowledged(self, topic: str) -> set[str]:
        """Ids of what came to a topic from PaliJet, which uses none twice, and was acknowledged: by the broker's own log."""
        came = set(
            re.findall(rf"Received PUBLISH from palijet-\S+ \(d\d, q1, r\d, (m\d+), '{re.escape(topic)}'", self.log)
        )
        return came & set(
            re.findall(r"Sending PUBACK to palijet-\S+ \((m\d+), rc(?:0|16)\)", self.log)
        )  # 16: nobody reads it

    def _answers(self) -> bool:
        with socket.socket() as trying:
            return trying.connect_ex(("127.0.0.1", self.port)) == 0


class Listener:
    """A client with a session that is kept; it comes back within some 20 ms, and subscribes again where its session is gone."""

    def __init__(self, broker: Broker, *, username: str | None = None, password: str | None = None) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.messages: list[tuple[str, bytes]] = []  # topic, payload
        self.newest = 0  # the sequence of the last result; what is retained comes again at each subscription
        self.again = 0  # of them, sent again by the broker, which did not hear that they had come
        self.subscribed = threading.Event()
        self._broker = broker
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="listener", clean_session=False)
        if username:
            self._client.username_pw_set(username, password)
        self._client.on_message = self._take
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: self.subscribed.set()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self.subscribed.wait(20)

    def _take(self, client: Any, userdata: Any, got: Any) -> None:
        self.messages.append((got.topic, got.payload))
        self.again += got.dup
        if got.topic.endswith("/result"):
            self.newest = int(json.loads(got.payload)["sequence"])

    def _run(self) -> None:
        while not self._done.is_set():
            try:
                self._client.connect("127.0.0.1", self._broker.port, keepalive=10)
                while not self._done.is_set() and self._client.loop(0.05) == 0:
                    pass
            except OSError:
                time.sleep(0.02)

    def close(self) -> None:
        self._done.set()
        self._thread.join(20)

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def payloads(self, topic: str) -> list[bytes]:
        return [payload for its_topic, payload in list(self.messages) if its_topic == topic]

    def results(self) -> list[dict[str, Any]]:
        return [json.loads(payload) for topic, payload in list(self.messages) if topic.endswith("/result")]
