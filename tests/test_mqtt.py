"""MQTT over a real mosquitto, which refuses, hangs, and is killed; judged by a client of its own."""

from __future__ import annotations

import json
import logging
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from frames_for_sinks import answered_frame, state_change
from free_port import free_port
from load import Load
from mosquitto import Broker, Listener
from until import until

from palijet.runtime.cameras.backoff import Backoff
from palijet.runtime.cameras.status import CameraState
from palijet.runtime.errors import InputError, SinkError
from palijet.runtime.sinks.mqtt import Mqtt, MqttOptions
from palijet.runtime.sinks.sink_queue import SinkQueue
from palijet.runtime.sinks.spool_options import SpoolOptions

pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed: pip install 'palijet[mqtt]'")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as broker:
        yield broker


@pytest.fixture
def listener(broker: Broker) -> Iterator[Listener]:
    with Listener(broker) as listener:
        yield listener


def open_queue(port: int, folder: Path, **options: Any) -> SinkQueue:
    spool = SpoolOptions(path=folder / "spool.sqlite")
    mqtt = Mqtt(MqttOptions(**{"host": "127.0.0.1", "port": port, "spool": spool, **options}))
    return SinkQueue(mqtt, backoff=Backoff(0.02, 0.1))


def test_results_arrive_with_run_and_sequence(broker: Broker, listener: Listener, tmp_path: Path) -> None:
    queue = open_queue(broker.port, tmp_path, prefix="hall/vision")
    frames = [answered_frame(i, prompts=("how many people", "is the belt empty"), text="né") for i in range(50)]
    for frame in frames:
        queue.put(frame)
    until(lambda: len(listener.results()) == 100)
    queue.close()
    assert {topic for topic, _ in listener.messages if topic.endswith("result")} == {"hall/vision/door/result"}
    results = listener.results()
    assert [one["sequence"] for one in results] == list(range(1, 101))
    assert len({one["run"] for one in results}) == 1
    told = [{name: value for name, value in one.items() if name not in ("run", "sequence")} for one in results]
    assert told == [result.to_dict() for frame in frames for result in frame.results]
    assert queue.status().delivered == 100


def test_states_and_availability_are_retained(broker: Broker, tmp_path: Path) -> None:
    queue = open_queue(broker.port, tmp_path)
    queue.put(answered_frame(camera="belt"))
    queue.put_state(state_change(CameraState.LIVE))
    queue.put_state(state_change(CameraState.STALE, reason="no frame for 5 s"))
    until(lambda: queue.status().delivered == 1)
    with Listener(broker) as late:
        until(lambda: all(late.payloads(f"palijet/{one}") for one in ("availability", "belt/state", "door/state")))
        assert late.payloads("palijet/availability") == [b"online"]
        state = json.loads(late.payloads("palijet/door/state")[-1])
        assert (state["state"], state["before"], state["reason"]) == ("stale", "live", "no frame for 5 s")
        assert json.loads(late.payloads("palijet/belt/state")[0])["state"] == "live"
        assert not late.results()  # results are not retained
        queue.close()
        until(lambda: late.payloads("palijet/availability") == [b"online", b"offline"])


def test_home_assistant_is_told_what_there_is(broker: Broker, tmp_path: Path) -> None:
    queue = open_queue(broker.port, tmp_path)
    queue.put(answered_frame(camera="front door", prompts=("how many people", 'say "hi"')))
    queue.put_state(state_change(camera="front door"))
    until(lambda: queue.status().delivered == 2)
    with Listener(broker) as late:
        until(lambda: sum(topic.startswith("homeassistant/") for topic, _ in list(late.messages)) >= 3)
    queue.close()
    told = {topic: json.loads(payload) for topic, payload in late.messages if topic.startswith("homeassistant/")}
    assert len(told) == 3
    assert len({config["unique_id"] for config in told.values()}) == 3
    (live,) = [config for topic, config in told.items() if topic.startswith("homeassistant/binary_sensor/")]
    assert live["device_class"] == "connectivity"
    assert live["state_topic"] == "palijet/front_door/state"
    sensors = {config["name"]: config for topic, config in told.items() if topic.startswith("homeassistant/sensor/")}
    assert set(sensors) == {"how many people", 'say "hi"'}
    for config in [*sensors.values(), live]:
        assert config["availability"][0] == {"topic": "palijet/availability"}
        assert config["device"] == live["device"]
        assert config["device"]["identifiers"]
        assert config["origin"]["name"] == "PaliJet"
    for topic in told:  # <prefix>/<component>/<object>/config, of the letters that Home Assistant allows
        assert topic.count("/") == 3
        assert set(topic.split("/")[2]) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def test_a_sensor_s_template_takes_its_own_prompt_s_answer_only() -> None:
    jinja2 = pytest.importorskip("jinja2", reason="jinja2 is not installed: pip install jinja2")
    from palijet.runtime.sinks.home_assistant import live_sensor, prompt_sensor

    for prompt in ("how many people", 'say "hi" é\n'):
        _, config = prompt_sensor("palijet", "door", prompt)
        template = jinja2.Template(config["value_template"])
        said = {"text": "x" * 300, "prompt": prompt}
        assert template.render(value_json=said, this={"state": "before"}) == "x" * 255
        other = {"text": "no", "prompt": "another"}
        assert template.render(value_json=other, this={"state": "before"}) == "before"
    template = jinja2.Template(live_sensor("palijet", "door")[1]["value_template"])
    assert [template.render(value_json={"state": state}) for state in ("live", "stale")] == ["ON", "OFF"]


def test_nothing_is_told_to_home_assistant_where_it_is_not_wanted(
    broker: Broker, listener: Listener, tmp_path: Path
) -> None:
    queue = open_queue(broker.port, tmp_path, discovery="")
    queue.put(answered_frame())
    until(lambda: listener.results())
    queue.close()
    assert all(topic.startswith("palijet/") for topic, _ in listener.messages)


PUBLISHER = """
import sys, time
from pathlib import Path
from frames_for_sinks import answered_frame
from palijet.runtime.sinks.mqtt import Mqtt, MqttOptions
from palijet.runtime.sinks.sink_queue import SinkQueue
from palijet.runtime.sinks.spool_options import SpoolOptions
options = MqttOptions("127.0.0.1", int(sys.argv[1]), spool=SpoolOptions(path=Path(sys.argv[2])))
queue = SinkQueue(Mqtt(options))
queue.put(answered_frame())
time.sleep(60)
"""


def test_the_broker_says_so_when_palijet_is_killed(broker: Broker, listener: Listener, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PUBLISHER, str(broker.port), str(tmp_path / "spool.sqlite")]
    publisher = subprocess.Popen(command, cwd=Path(__file__).parent)
    until(lambda: listener.results())
    assert listener.payloads("palijet/availability") == [b"online"]
    publisher.kill()
    publisher.wait()
    until(lambda: listener.payloads("palijet/availability") == [b"online", b"offline"])


def test_a_broker_that_is_not_there_yet_is_a_state(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    broker = Broker(tmp_path / "broker")
    queue = open_queue(broker.port, tmp_path)
    for i in range(30):
        queue.put(answered_frame(i))
    queue.put_state(state_change(CameraState.STALE))
    until(lambda: queue.status().spooled == 30 and queue.status().failed > 3)
    assert "is not there: Connection refused; see that it runs" in queue.status().reason
    with broker:
        until(lambda: queue.status().delivered == 30)
        with Listener(broker) as late:
            until(lambda: late.payloads("palijet/door/state"))
            assert json.loads(late.payloads("palijet/door/state")[0])["state"] == "stale"
        queue.close()
    assert caplog.text.count("is not there") == 1
    assert caplog.text.count("is back after") == 1


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Broker]:
    """Knows one user, who may write below `allowed/` only."""
    passwords, rules = tmp_path / "passwords", tmp_path / "rules"
    broker = Broker(tmp_path / "broker", "allow_anonymous false", f"password_file {passwords}", f"acl_file {rules}")
    made = subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "cam", "p@ss w0rd"], check=False)
    assert made.returncode == 0
    rules.write_text("user cam\ntopic readwrite allowed/#\n")
    with broker:
        yield broker


def test_a_wrong_password_is_a_state_and_never_shown(
    guarded: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    queue = open_queue(guarded.port, tmp_path, username="cam", password="wr0ng")
    queue.put(answered_frame())
    until(lambda: queue.status().spooled == 1 and queue.status().failed >= 2)
    status = queue.status()
    assert "refuses: Not authorized; see to user name, password" in status.reason
    assert "wr0ng" not in caplog.text + str(status) + repr(queue.sink.options)  # type: ignore[attr-defined]
    queue.close()
    right = open_queue(guarded.port, tmp_path / "b", username="cam", password="p@ss w0rd", prefix="allowed")
    right.put(answered_frame())
    until(lambda: right.status().delivered == 1)
    right.close()


def test_what_the_broker_s_rules_forbid_is_said_and_does_not_hold_up_the_rest(
    guarded: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queue = open_queue(guarded.port, tmp_path, username="cam", password="p@ss w0rd", prefix="forbidden")
    for i in range(5):
        queue.put(answered_frame(i))
    until(lambda: queue.status().failed == 5)
    status = queue.status()
    assert (status.delivered, status.queued, status.spooled) == (0, 0, 0)
    assert "refuses forbidden/door/result: Not authorized; see to its access rules" in status.reason
    assert caplog.text.count("Not authorized") == 1
    queue.close()


def test_a_message_that_is_too_large_is_given_up(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker", "allow_anonymous true", "max_packet_size 3000") as broker:
        queue = open_queue(broker.port, tmp_path)
        queue.put(answered_frame(0))
        queue.put(answered_frame(1, text="x" * 5000))
        queue.put(answered_frame(2))
        until(lambda: queue.status().delivered == 2)
        assert queue.status().failed == 1
        queue.close()


def test_a_broker_that_hangs_is_left_and_found_again(broker: Broker, listener: Listener, tmp_path: Path) -> None:
    queue = open_queue(broker.port, tmp_path, ack_s=0.5, connect_s=0.5)
    queue.put(answered_frame(0))
    until(lambda: queue.status().delivered == 1)
    broker.send(signal.SIGSTOP)
    for i in range(1, 100):
        queue.put(answered_frame(i))
    until(lambda: not queue.status().ready and queue.status().spooled == 99)
    broker.send(signal.SIGCONT)
    until(lambda: queue.status().delivered == 100, 30)
    queue.close()
    until(lambda: len({one["sequence"] for one in listener.results()}) == 100)


def test_a_connection_that_is_lost_is_found_again_without_anything_to_send(broker: Broker, tmp_path: Path) -> None:
    queue = open_queue(broker.port, tmp_path)
    until(lambda: queue.status().ready)
    broker.kill()
    until(lambda: not queue.status().ready)
    broker.start()
    until(lambda: queue.status().ready)
    queue.close()


def test_tls_needs_a_certificate_that_fits(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
               "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]  # fmt: skip
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed: apt install openssl")
    with Broker(tmp_path / "broker", f"certfile {certificate}", f"keyfile {key}", "allow_anonymous true") as broker:
        doubtful = open_queue(broker.port, tmp_path, tls=True)
        until(lambda: doubtful.status().failed)
        assert "CERTIFICATE_VERIFY_FAILED" in doubtful.status().reason
        doubtful.close()
        queue = open_queue(broker.port, tmp_path, tls=True, ca_file=certificate)
        queue.put(answered_frame())
        until(lambda: queue.status().delivered == 1)
        queue.close()


def test_addresses_become_options() -> None:
    options = MqttOptions.of("mqtts://cam:p%40ss@broker.local/hall/vision", discovery="")
    assert (options.host, options.port, options.tls) == ("broker.local", 8883, True)
    assert (options.username, options.password, options.prefix) == ("cam", "p@ss", "hall/vision")
    assert "p@ss" not in repr(options)
    assert MqttOptions.of("mqtt://[::1]:1884") == MqttOptions("::1", 1884)
    for bad, mend in (
        ("mqtt://", "give mqtt://host"),
        ("mqtt://host:port", "give 1 to 65535"),
        ("mqtt://host/a/+/b", r"give a prefix without \+ and #"),
    ):
        with pytest.raises(InputError, match=mend):
            MqttOptions.of(bad)
    with pytest.raises(InputError, match="give cert_file and key_file"):
        MqttOptions("host", cert_file=Path("x"))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(SinkError, match=r"pip install 'palijet\[mqtt\]'"):
        Mqtt(MqttOptions("host", free_port()))


@pytest.mark.slow
@pytest.mark.parametrize(("persistence", "kills"), [(True, 50), (False, 20)])
def test_a_broker_that_is_killed_50_times_under_load(
    persistence: bool, kills: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every result is acknowledged, and only the broker loses any.

    Where it does not keep its sessions, that is what comes before its readers are back. Where it does, it acknowledges first
    and saves a moment later, so that a kill between the two costs a message or two, once in some 300 kills.
    """
    chance = random.Random(6)
    with Broker(tmp_path / "broker", persistence=persistence) as broker, Listener(broker) as listener:
        queue = open_queue(broker.port, tmp_path)
        with Load(queue, per_s=200) as load:
            for _ in range(kills):
                until(lambda now=load.sent: listener.newest > now, 60)  # both are back, and nothing waits in the broker
                time.sleep(chance.uniform(0.05, 0.6))
                broker.kill()
                time.sleep(chance.uniform(0, 0.3))
                broker.start()
        until(lambda: queue.status().delivered == load.sent, 60)
        status = queue.status()
        until(lambda: listener.newest == load.sent, 60)
        queue.close()
    sequences = [one["sequence"] for one in listener.results()]
    once = Counter(sequences)
    lost, doubled = load.sent - len(once), len(sequences) - len(once)
    with capsys.disabled():
        print(
            f"\nMQTT, {kills} kills, persistence {persistence}: {load.sent} sent, {len(once)} received, {lost} lost,"
            f" {doubled} came twice (same sequence; {listener.again} of them by the broker), {status.dropped} dropped,"
            f" {status.failed} attempts failed; {len(broker.acknowledged('palijet/door/result'))} acknowledged by the broker"
        )
    assert list(once) == sorted(once)  # in order, where each is taken at its first coming
    assert (status.spooled, status.queued, status.dropped) == (0, 0, 0)
    assert doubled <= kills * Mqtt.batch_length
    assert len(broker.acknowledged("palijet/door/result")) == load.sent  # so that what is lost, the broker lost
    if persistence:
        assert lost <= Mqtt.batch_length  # what is in flight at one kill
