"""The webhook against a real receiver, which refuses, is slow, and is killed."""

from __future__ import annotations

import json
import logging
import random
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from frames_for_sinks import answered_frame, state_change
from free_port import free_port
from load import Load
from until import until

from palijet.runtime.cameras.backoff import Backoff
from palijet.runtime.errors import InputError
from palijet.runtime.sinks.message import Message
from palijet.runtime.sinks.sink import RefusedError
from palijet.runtime.sinks.sink_queue import SinkQueue
from palijet.runtime.sinks.spool_options import SpoolOptions
from palijet.runtime.sinks.webhook import Webhook, WebhookOptions
from palijet.runtime.sinks.webhook_signature import HEADER, sign, verify

pytest.importorskip("httpx", reason="httpx is not installed: pip install 'palijet[webhook]'")


class Receiver:
    """The process, and what it has received."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/hook?key=hidden"
        self._file = folder / "received.jsonl"
        self._file.touch()
        self._process: subprocess.Popen[str] | None = None

    def start(self, *statuses: str) -> None:
        script = Path(__file__).parent / "webhook_receiver.py"
        self._process = subprocess.Popen(
            [sys.executable, script, str(self.port), str(self._file), *statuses], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def received(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._file.read_text().splitlines()]

    def frames(self) -> list[int]:
        return [json.loads(one["body"])["frame_index"] for one in self.received()]


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    receiver = Receiver(tmp_path)
    yield receiver
    receiver.kill()


def open_queue(receiver: Receiver, folder: Path, **options: Any) -> SinkQueue:
    spool = SpoolOptions(path=folder / "spool.sqlite")
    webhook = Webhook(WebhookOptions(receiver.url, spool=spool, **options))
    return SinkQueue(webhook, backoff=Backoff(0.02, 0.1))


def test_a_frame_and_a_state_arrive_as_json(receiver: Receiver, tmp_path: Path) -> None:
    receiver.start()
    queue = open_queue(receiver, tmp_path, headers={"Authorization": "Bearer x"})
    frame = answered_frame(7, prompts=("how many people", "is the belt empty"))
    queue.put(frame)
    queue.put_state(state_change(reason="no frame for 5 s"))
    queue.close()
    first, second = receiver.received()
    said = json.loads(first["body"])
    assert said["results"] == [result.to_dict() for result in frame.results]
    assert (said["event"], said["camera"], said["frame_index"], said["sequence"]) == ("results", "door", 7, 1)
    assert first["headers"]["Content-Type"] == "application/json"
    assert first["headers"]["Idempotency-Key"] == f"{said['run']}-1"
    assert first["headers"]["Authorization"] == "Bearer x"
    assert HEADER not in first["headers"]
    state = json.loads(second["body"])
    assert (state["event"], state["state"], state["before"], state["sequence"]) == ("state", "stale", "live", 2)
    assert state["reason"] == "no frame for 5 s"


def test_a_connection_is_kept(receiver: Receiver, tmp_path: Path) -> None:
    receiver.start()
    queue = open_queue(receiver, tmp_path)
    for i in range(20):
        queue.put(answered_frame(i))
    queue.close()
    assert len({one["peer"] for one in receiver.received()}) == 1
    assert receiver.frames() == list(range(20))


def test_the_signature_is_the_receiver_s_proof(receiver: Receiver, tmp_path: Path) -> None:
    receiver.start()
    queue = open_queue(receiver, tmp_path, secret="s3cret")
    queue.put(answered_frame())
    queue.close()
    (got,) = receiver.received()
    body, signature = got["body"].encode(), got["headers"][HEADER]
    verify("s3cret", body, signature)
    with pytest.raises(InputError, match="does not fit the body"):
        verify("other", body, signature)
    with pytest.raises(InputError, match="does not fit the body"):
        verify("s3cret", body + b" ", signature)
    with pytest.raises(InputError, match="is of another time"):
        verify("s3cret", body, signature, now=time.time() + 301)
    at = signature.split(",")[0].removeprefix("t=")
    with pytest.raises(InputError, match="does not fit the body"):
        verify("s3cret", body, signature.replace(at, str(int(at) + 1)))
    for none in ("", "t=1", "v1=00", "t=x,v1=00", "nonsense"):
        with pytest.raises(InputError, match="it should be t=SECONDS,v1=HEX"):
            verify("s3cret", body, none)


def test_a_signature_is_what_openssl_says(tmp_path: Path) -> None:
    body = b'{"a": 1}'
    (tmp_path / "signed").write_bytes(b"1700000000." + body)
    try:
        told = subprocess.run(
            ["openssl", "dgst", "-sha256", "-hmac", "s3cret", "-hex", tmp_path / "signed"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("openssl is not installed: apt install openssl")
    assert sign("s3cret", body, 1_700_000_000) == f"t=1700000000,v1={told.stdout.split()[-1]}"


def test_a_server_s_trouble_is_waited_out(receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.start("500", "503", "408", "502")
    queue = open_queue(receiver, tmp_path)
    for i in range(5):
        queue.put(answered_frame(i))
    until(lambda: queue.status().delivered == 5)
    queue.close()
    assert receiver.frames() == [0, 0, 0, 0, 0, 1, 2, 3, 4]
    assert len({one["headers"]["Idempotency-Key"] for one in receiver.received()}) == 5
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("palijet")]
    assert len(ours) == 2  # one line when it goes, one when it is back
    assert "hidden" not in caplog.text  # not of httpx either


@pytest.mark.parametrize("how", ["seconds", "date"])
def test_retry_after_is_obeyed(receiver: Receiver, tmp_path: Path, how: str) -> None:
    receiver.start(f"429:{1 if how == 'seconds' else formatdate(time.time() + 2.5, usegmt=True)}")
    queue = open_queue(receiver, tmp_path)
    queue.put(answered_frame())
    until(lambda: queue.status().delivered == 1)
    queue.close()
    first, second = (one["at"] for one in receiver.received())
    assert second - first >= 0.95  # a date has whole seconds, and was set before the process started


def test_what_is_refused_for_good_is_given_up_and_said(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.start("404", "422")
    queue = open_queue(receiver, tmp_path)
    for i in range(5):
        queue.put(answered_frame(i))
    until(lambda: queue.status().delivered == 3)
    queue.close()
    assert receiver.frames() == [0, 1, 2, 3, 4]
    status = queue.status()
    assert (status.failed, status.spooled, status.queued) == (2, 0, 0)
    assert caplog.text.count("answers 404 Not Found; see to the address") == 1
    assert "hidden" not in caplog.text


def test_a_receiver_that_says_nothing_is_a_state(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        spool = SpoolOptions(path=tmp_path / "spool.sqlite")
        options = WebhookOptions(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout_s=0.1, spool=spool)
        queue = SinkQueue(Webhook(options))
        queue.put(answered_frame())
        until(lambda: queue.status().spooled == 1)
        assert queue.status().reason.endswith("does not answer within 0.1 s")
        queue.close()
    assert queue.status().spooled == 1


def test_results_wait_for_the_receiver(receiver: Receiver, tmp_path: Path) -> None:
    queue = open_queue(receiver, tmp_path)
    for i in range(30):
        queue.put(answered_frame(i))
    until(lambda: queue.status().spooled == 30)
    assert "Connection refused; see that it runs" in queue.status().reason
    receiver.start()
    until(lambda: queue.status().delivered == 30)
    assert queue.status().ready
    queue.close()
    assert receiver.frames() == list(range(30))


SENDER = """
import sys, time
from pathlib import Path
from frames_for_sinks import answered_frame
from palijet.runtime.sinks.sink_queue import SinkQueue
from palijet.runtime.sinks.spool_options import SpoolOptions
from palijet.runtime.sinks.webhook import Webhook, WebhookOptions
queue = SinkQueue(Webhook(WebhookOptions(sys.argv[1], spool=SpoolOptions(path=Path(sys.argv[2])))))
for i in range(40):
    queue.put(answered_frame(i))
while queue.status().spooled < 40:
    time.sleep(0.01)
print("spooled", flush=True)
time.sleep(60)
"""


def test_results_wait_for_the_receiver_also_when_the_sender_is_killed(receiver: Receiver, tmp_path: Path) -> None:
    spool = tmp_path / "spool.sqlite"
    sender = subprocess.Popen(
        [sys.executable, "-c", SENDER, receiver.url, spool],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent,
    )  # fmt: skip
    assert sender.stdout is not None
    assert sender.stdout.readline() == "spooled\n"
    sender.kill()
    sender.wait()
    sender.stdout.close()
    receiver.start()
    queue = open_queue(receiver, tmp_path)
    queue.put(answered_frame(40))
    until(lambda: queue.status().delivered == 41)
    queue.close()
    assert receiver.frames() == list(range(41))


def test_addresses_are_checked_and_never_shown() -> None:
    for bad in ("ftp://host/x", "http:///x", "nonsense"):
        with pytest.raises(InputError, match="give http://host/path or https://host/path"):
            WebhookOptions(bad)
    options = WebhookOptions("https://user:pass@example.org/secret", secret="s3cret", headers={"A": "t0ken"})
    assert not any(word in repr(options) for word in ("pass", "secret'", "s3cret", "t0ken", "example"))
    assert Webhook(options).name.startswith("webhook example.org:https#")
    assert Webhook(options).name != Webhook(WebhookOptions("https://example.org/other")).name


@pytest.mark.slow
def test_a_receiver_that_is_killed_50_times_under_load_loses_nothing(
    receiver: Receiver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(6)
    queue = open_queue(receiver, tmp_path)
    with Load(queue, per_s=200) as load:
        for _ in range(50):
            receiver.start()
            before = queue.status().delivered
            until(lambda before=before: queue.status().delivered > before, 60)
            time.sleep(chance.uniform(0.05, 0.6))
            receiver.kill()
            time.sleep(chance.uniform(0, 0.3))
        receiver.start()
    until(lambda: queue.status().delivered == load.sent, 60)
    queue.close()
    status = queue.status()
    keys = Counter(one["headers"]["Idempotency-Key"] for one in receiver.received())
    once = list(dict.fromkeys(receiver.frames()))
    doubled = sum(count - 1 for count in keys.values())
    with capsys.disabled():
        print(
            f"\nwebhook, 50 kills: {load.sent} sent, {len(keys)} received, {load.sent - len(keys)} lost, {doubled} came twice"
            f" (same Idempotency-Key), {status.dropped} dropped, {status.failed} attempts failed"
        )
    assert once == list(range(load.sent))  # all of them, and in order
    assert doubled <= 50  # at most the one that was under way at each kill
    assert (status.spooled, status.queued, status.dropped) == (0, 0, 0)
    assert threading.active_count() < 10


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("Bearer s3cret\n", "ends in a newline"),
        ("Bearer s3cret ", "begins or ends with a space"),
        (" s3cret", "begins or ends with a space"),
        ("s3cret\x00", "has a character that a header cannot have"),
        ("s3crét", "has a character that a header cannot have"),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused_and_never_shown(value: str, fault: str) -> None:
    with pytest.raises(InputError, match=f"header Authorization cannot be sent: it {fault}") as error:
        WebhookOptions("https://host/", headers={"Authorization": value})
    assert "s3cr" not in str(error.value)


def test_an_address_with_a_port_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="no address"):
        WebhookOptions("https://host:99999/x")


def test_what_the_protocol_does_not_let_through_is_said_without_its_text(receiver: Receiver) -> None:
    receiver.start()
    headers = {"Authorization": "Bearer"}
    sink = Webhook(WebhookOptions(receiver.url, headers=headers))
    headers["Authorization"] = "Bearer s3cret\n"  # after it was checked
    sink.open()
    with pytest.raises(RefusedError, match="LocalProtocolError; see to its headers") as error:
        sink.write(Message("run-1", "results", b"{}"))
    assert "s3cret" not in "".join(traceback.format_exception(error.value))
    sink.close()
