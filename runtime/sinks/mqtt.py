"""MQTT: a topic of results and one of state per camera, whether PaliJet runs, and what Home Assistant needs to find it all.

    {prefix}/{camera}/result   each result as JSON, with its run and sequence
    {prefix}/{camera}/state    {"state": "live", "at": ..., "reason": ...}, retained
    {prefix}/availability      online or offline, retained; the broker says offline where PaliJet is gone without a word

Everything is sent at QoS 1: what the broker has not acknowledged is sent again, so a result may come twice, with the same sequence.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote, urlsplit

from ..cameras.status import StateChange
from ..errors import InputError, SinkError
from .file_name import file_name
from .home_assistant import live_sensor, prompt_sensor
from .message import Message, Numbering
from .sink import AnsweredFrame, RefusedError, Sink
from .spool_options import SpoolOptions

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

_FAREWELL_S = 2.0  # for the last message to be acknowledged


@dataclass(frozen=True)
class MqttOptions:
    """A broker, and how it is spoken to."""

    host: str
    port: int = 1883
    prefix: str = "palijet"  # of all topics
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: Path | None = None  # that signed the broker's certificate; None: the system's
    cert_file: Path | None = None  # of this client, with key_file
    key_file: Path | None = None
    discovery: str = "homeassistant"  # Home Assistant's discovery prefix; empty: it is told nothing
    client_id: str = ""  # empty: made of the host's name
    connect_s: float = 10.0  # for the broker to take the connection
    ack_s: float = 10.0  # for it to acknowledge a message
    keepalive_s: int = 20  # without a word for one and a half of these, each takes the other for gone
    session_s: int = 3600  # the broker remembers the session for so long
    spool: SpoolOptions = field(default_factory=SpoolOptions)

    def __post_init__(self) -> None:
        if not self.host:
            raise InputError("an MQTT address needs a host; give mqtt://host or mqtts://host")
        if not self.prefix or any(letter in self.prefix for letter in "+#\0"):
            raise InputError(f"MQTT topics cannot begin with {self.prefix!r}; give a prefix without + and #")
        if (self.cert_file is None) != (self.key_file is None):
            raise InputError(
                "a client's certificate needs its key and the other way round; give cert_file and key_file"
            )

    @staticmethod
    def of(address: str, **others: Any) -> MqttOptions:
        """From mqtt(s)://user:password@host:port/prefix; others: the fields it does not say.

        Raises:
            InputError: it is no such address.
        """
        try:
            parts = urlsplit(address)
        except ValueError:
            raise InputError("what is given for MQTT is no address; give mqtt://host or mqtts://host") from None
        try:
            port = parts.port
        except ValueError:
            raise InputError(f"the MQTT address of {parts.hostname} has a port that is none; give 1 to 65535") from None
        tls = parts.scheme == "mqtts"
        given = {
            "host": parts.hostname or "",
            "port": port or (8883 if tls else 1883),
            "tls": tls,
            "username": unquote(parts.username) if parts.username else None,
            "password": unquote(parts.password) if parts.password else None,
            **({"prefix": unquote(prefix)} if (prefix := parts.path.strip("/")) else {}),
        }
        return MqttOptions(**{**given, **others})


class Mqtt(Sink):
    """Publishes to a broker. It reconnects when `open` is called again; messages in flight are sent once more then.

    Raises:
        SinkError: the broker is not there, refuses, or does not acknowledge.
        RefusedError: it will not take this message.
    """

    policy = "spill"
    queue_length: ClassVar[int] = 10_000
    batch_length: ClassVar[int] = 20  # in flight together: what brokers take unless told otherwise

    def __init__(self, options: MqttOptions) -> None:
        try:
            import paho.mqtt.client  # noqa: F401
        except ImportError:
            raise SinkError("paho-mqtt is not installed; run: pip install 'palijet[mqtt]'") from None
        self.options = options
        self.spool = options.spool
        self.name = f"mqtt {options.host}:{options.port}/{options.prefix}"
        self._availability = f"{options.prefix}/availability"
        self._numbering = Numbering()
        self._client: Client | None = None
        self._changed = threading.Condition()  # of these:
        self._connected = False
        self._lost = ""  # why it is not connected
        self._largest_bytes: int | None = None  # that the broker takes
        self._acks: dict[int, ReasonCode] = {}  # by message id
        self._in_flight: dict[str, int] = {}  # message ids by keys; paho sends these again by itself
        self._retained: dict[str, str] = {self._availability: "online"}  # what the broker must know, by topic
        self._told = threading.Lock()  # keeps them in order
        self._discovered: set[tuple[str, str]] = set()  # cameras and prompts

    def open(self) -> None:
        client = self._client or self._make_client()
        first = self._client is None
        self._client = client
        self._hang_up(client)
        try:
            if first:
                client.connect(self.options.host, self.options.port, self.options.keepalive_s, **self._session())
            else:
                client.reconnect()
        except (OSError, ValueError) as error:  # ValueError: a host name that is none
            raise SinkError(f"the broker {self._where} is not there: {_reason(error)}; see that it runs") from None
        client.loop_start()
        with self._changed:
            self._changed.wait_for(lambda: self._connected or self._lost, self.options.connect_s)
            if not self._connected:
                raise SinkError(self._lost or f"the broker {self._where} does not answer; see that it is one")
        with self._told:
            for topic, payload in self._retained.items():
                client.publish(topic, payload, qos=1, retain=True)

    def prepare(self, answered: AnsweredFrame) -> list[Message]:
        camera = file_name(answered.camera)
        if f"{self.options.prefix}/{camera}/state" not in self._retained:
            self._introduce(camera, answered)
        messages = []
        for result in answered.results:
            if (camera, result.prompt) not in self._discovered:
                self._discovered.add((camera, result.prompt))
                self._discover(prompt_sensor(self.options.prefix, camera, result.prompt))
            sequence, key = self._numbering.next()
            said = {"run": self._numbering.run, "sequence": sequence, **result.to_dict()}
            body = json.dumps(said, ensure_ascii=False).encode()
            messages.append(Message(key, f"{self.options.prefix}/{camera}/result", body))
        return messages

    def prepare_state(self, change: StateChange) -> None:
        """Told at once and not queued: only the newest state counts, and a new connection begins with it."""
        camera = file_name(change.camera)
        self._discover(live_sensor(self.options.prefix, camera))
        said = {"state": str(change.after), "at": change.at, "reason": change.reason, "before": str(change.before)}
        self._tell(f"{self.options.prefix}/{camera}/state", json.dumps(said, ensure_ascii=False))

    def write(self, item: Message) -> None:
        for _ in self.write_many([item]):
            pass

    def write_many(self, items: Sequence[Message]) -> Iterator[None]:
        client = self._client
        assert client is not None
        self.idle()
        keys = {item.key for item in items}
        self._in_flight = {key: number for key, number in self._in_flight.items() if key in keys}
        if not self._in_flight:
            self._acks.clear()
        sent_again = len(self._in_flight)  # the first ones, by paho; what it sends again goes before anything new
        for item in items[:sent_again]:
            self._await_ack(item)
            yield
        for item in items[sent_again:]:
            if self._fits(item):
                self._in_flight[item.key] = client.publish(item.topic, item.body, qos=1).mid
        for item in items[sent_again:]:
            self._await_ack(item)
            yield

    def idle(self) -> None:
        if not self._connected:
            raise SinkError(self._lost or f"the broker {self._where} is gone")

    def close(self) -> None:
        client = self._client
        if client is None:
            return
        if self._connected:
            number = client.publish(self._availability, "offline", qos=1, retain=True).mid
            with self._changed:
                self._changed.wait_for(lambda: number in self._acks or not self._connected, _FAREWELL_S)
            client.disconnect()
            with self._changed:
                self._changed.wait_for(lambda: not self._connected, _FAREWELL_S)
        self._hang_up(client)

    def _hang_up(self, client: Client) -> None:
        """End the connection and paho's thread, which would else stay until a broker that hangs has acknowledged all."""
        if isinstance(connection := client.socket(), socket.socket):
            with contextlib.suppress(OSError):  # it has gone already
                connection.shutdown(socket.SHUT_RDWR)
        client.loop_stop()
        self._connected, self._lost = False, ""

    def _make_client(self) -> Client:
        from paho.mqtt.client import Client, MQTTv5
        from paho.mqtt.enums import CallbackAPIVersion

        options = self.options
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=options.client_id or f"palijet-{socket.gethostname()}-{secrets.token_hex(3)}",
            protocol=MQTTv5,  # which says why a message is refused
            reconnect_on_failure=False,  # SinkQueue knows when to try again
        )
        client.connect_timeout = options.connect_s
        client.max_inflight_messages_set(self.batch_length)
        if options.username is not None:
            client.username_pw_set(options.username, options.password)
        if options.tls:
            client.tls_set_context(self._tls())
        client.will_set(self._availability, "offline", qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        return client

    def _tls(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.options.ca_file)
            if self.options.cert_file is not None:
                context.load_cert_chain(self.options.cert_file, self.options.key_file)
        except OSError as error:
            raise SinkError(f"the certificates for {self._where} cannot be read: {_reason(error)}") from None
        return context

    def _session(self) -> dict[str, Any]:
        from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho 2.2 has no types here
        properties.SessionExpiryInterval = self.options.session_s
        return {"clean_start": MQTT_CLEAN_START_FIRST_ONLY, "properties": properties}

    @property
    def _where(self) -> str:
        return f"{self.options.host}:{self.options.port}"

    def _introduce(self, camera: str, answered: AnsweredFrame) -> None:
        """The state of a camera that has not changed yet since the sink is there."""
        status = answered.status
        said = {"state": "live", "at": answered.frame.captured_at, "reason": ""}
        if status is not None:
            said = {"state": str(status.state), "at": status.since, "reason": status.reason}
        self._discover(live_sensor(self.options.prefix, camera))
        self._tell(f"{self.options.prefix}/{camera}/state", json.dumps(said, ensure_ascii=False))

    def _discover(self, sensor: tuple[str, dict[str, Any]]) -> None:
        topic = f"{self.options.discovery}/{sensor[0]}"
        if self.options.discovery and topic not in self._retained:
            self._tell(topic, json.dumps(sensor[1], ensure_ascii=False))

    def _tell(self, topic: str, payload: str) -> None:
        """Now, where there is a connection, and at the beginning of every later one."""
        with self._told:
            self._retained[topic] = payload
            if self._client is not None and self._connected:
                self._client.publish(topic, payload, qos=1, retain=True)

    def _fits(self, item: Message) -> bool:
        return self._largest_bytes is None or len(item.topic.encode()) + len(item.body) + 16 <= self._largest_bytes

    def _await_ack(self, item: Message) -> None:
        if item.key not in self._in_flight:
            raise RefusedError(
                f"the broker {self._where} takes {self._largest_bytes} bytes at most, and a result has {len(item.body)}"
            )
        number = self._in_flight[item.key]
        with self._changed:
            self._changed.wait_for(lambda: number in self._acks or not self._connected, self.options.ack_s)
            reason = self._acks.get(number)
        if reason is None:
            self.idle()
            raise SinkError(f"the broker {self._where} did not acknowledge within {self.options.ack_s:.0f} s")
        del self._in_flight[item.key]
        if reason.is_failure:
            raise RefusedError(f"the broker {self._where} refuses {item.topic}: {reason}; see to its access rules")

    # These run on paho's thread, the last one with paho's locks held: they must not call it.

    def _on_connect(
        self, client: Client, userdata: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        with self._changed:
            if reason.is_failure:
                self._lost = (
                    f"the broker {self._where} refuses: {reason}; see to user name, password and its access rules"
                )
            else:
                self._connected = True
                self._largest_bytes = getattr(properties, "MaximumPacketSize", None)
            self._changed.notify_all()

    def _on_disconnect(
        self, client: Client, userdata: Any, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        with self._changed:
            self._connected = False
            why = "it ended the connection" if reason.getName() == "Unspecified error" else str(reason)
            self._lost = self._lost or f"the broker {self._where} is gone: {why}; see that it runs"
            self._changed.notify_all()

    def _on_publish(
        self, client: Client, userdata: Any, number: int, reason: ReasonCode, properties: Properties | None
    ) -> None:
        with self._changed:
            self._acks[number] = reason
            self._changed.notify_all()


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
