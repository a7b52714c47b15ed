"""A webhook: each answered frame, and each change of a camera's state, is posted as JSON to an address.

    Content-Type: application/json
    Idempotency-Key: RUN-SEQUENCE           the same in every attempt, so a receiver can drop what it has already
    X-PaliJet-Signature: t=...,v1=...       where there is a secret; see webhook_signature.py

2xx is an acknowledgement. 408, 425, 429, 5xx and no answer at all are tried again; any other status is final, and counted.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from ..cameras.status import StateChange
from ..errors import InputError, SinkError
from . import webhook_signature
from .message import Message, Numbering
from .sink import AnsweredFrame, BusyError, RefusedError, Sink
from .spool_options import SpoolOptions

if TYPE_CHECKING:
    import httpx

_AGAIN = {408, 425, 429}  # and 5xx
_LONGEST_WAIT_S = 3600.0  # that a receiver may ask for
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2
_HEADER_VALUE = re.compile(r"(?! )[ -~]*(?<! )")  # RFC 9110 5.5, of ASCII


@dataclass(frozen=True)
class WebhookOptions:
    """Where to post, and how. The address may hold secrets, so only its host is ever shown."""

    url: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)  # shared with the receiver; None: not signed
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # more of them: Authorization, say
    timeout_s: float = 10.0  # for a connection, and for an answer
    ca_file: Path | None = None  # that signed the receiver's certificate; None: those that everybody trusts
    states: bool = True  # changes of cameras' states, too
    spool: SpoolOptions = field(default_factory=SpoolOptions)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            parts.port  # noqa: B018  (it raises where it is none)
        except ValueError:
            raise InputError("what is given for a webhook is no address; give https://host:port/path") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError("a webhook's address needs a host; give http://host/path or https://host/path")
        if not self.timeout_s > 0:
            raise InputError(f"timeout_s is {self.timeout_s}; give seconds above 0")
        for name, value in self.headers.items():
            if not _HEADER_NAME.fullmatch(name):
                raise InputError(f"a webhook cannot send a header called {name!r}; give letters, digits and -")
            if not _HEADER_VALUE.fullmatch(value):
                raise InputError(
                    f"the value of a webhook's header {name} cannot be sent: it {_fault(value)}; give printable ASCII alone"
                )


class Webhook(Sink):
    """Posts one message after the other over a connection that is kept.

    Raises:
        SinkError: the receiver does not answer, or not now.
        RefusedError: it will not take this message.
    """

    policy = "spill"
    queue_length: ClassVar[int] = 10_000
    batch_length: ClassVar[int] = 16

    def __init__(self, options: WebhookOptions) -> None:
        try:
            import httpx
        except ImportError:
            raise SinkError("httpx is not installed; run: pip install 'palijet[webhook]'") from None
        # It logs a line per request with the whole address, which may hold a secret.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self._httpx = httpx
        self.options = options
        self.spool = options.spool
        self.name = f"webhook {_shown(options.url)}"
        self._numbering = Numbering()
        self._client: httpx.Client | None = None

    def open(self) -> None:
        if self._client is not None:
            return
        try:
            verify = _trusting(self.options.ca_file)
        except OSError as error:
            raise SinkError(f"{self.options.ca_file} cannot be read: {error.strerror or error}") from None
        agent = {"User-Agent": f"PaliJet/{version('palijet')}"}
        self._client = self._httpx.Client(
            headers={**agent, **self.options.headers}, timeout=self.options.timeout_s, verify=verify
        )

    def prepare(self, answered: AnsweredFrame) -> Message:
        said = {
            "camera": answered.camera,
            "frame_index": answered.frame.index,
            "captured_at": answered.frame.captured_at,
            "results": [result.to_dict() for result in answered.results],
        }
        return self._message("results", said)

    def prepare_state(self, change: StateChange) -> Message | None:
        if not self.options.states:
            return None
        said = {**asdict(change), "before": str(change.before), "state": str(change.after)}
        del said["after"]
        return self._message("state", said)

    def write(self, item: Message) -> None:
        assert self._client is not None
        headers = {"Content-Type": "application/json", "Idempotency-Key": item.key}
        if self.options.secret is not None:
            signed = webhook_signature.sign(self.options.secret, item.body, int(time.time()))
            headers[webhook_signature.HEADER] = signed
        try:
            answer = self._client.post(self.options.url, content=item.body, headers=headers)
        except self._httpx.TimeoutException:
            raise SinkError(f"{self.name} does not answer within {self.options.timeout_s:g} s") from None
        except self._httpx.LocalProtocolError:  # whose text may hold the secret that is wrong with it
            raise RefusedError(f"{self.name} cannot be sent this: LocalProtocolError; see to its headers") from None
        except self._httpx.HTTPError as error:
            raise SinkError(f"{self.name} does not answer: {error or type(error).__name__}; see that it runs") from None
        if answer.is_success:
            return
        said = f"{self.name} answers {answer.status_code} {answer.reason_phrase}"
        if answer.status_code in _AGAIN or answer.is_server_error:
            raise BusyError(said, _wait_s(answer.headers.get("Retry-After", "")))
        raise RefusedError(f"{said}; see to the address, and to what the receiver expects")

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _message(self, event: str, said: dict[str, Any]) -> Message:
        sequence, key = self._numbering.next()
        body = {"event": event, "run": self._numbering.run, "sequence": sequence, **said}
        return Message(key, event, json.dumps(body, ensure_ascii=False).encode())


def _shown(url: str) -> str:
    """The host, and something that tells two addresses on it apart."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or parts.scheme}#{hashlib.sha256(url.encode()).hexdigest()[:6]}"


def _fault(value: str) -> str:
    """What is wrong with a header's value, without any of it."""
    if value.endswith(("\n", "\r")):
        return "ends in a newline"
    if value != value.strip(" "):
        return "begins or ends with a space"
    return "has a character that a header cannot have"


def _trusting(ca_file: Path | None) -> Any:
    if ca_file is None:
        return True
    import ssl

    return ssl.create_default_context(cafile=ca_file)


def _wait_s(retry_after: str) -> float:
    """Seconds that a Retry-After header asks for, by RFC 9110 10.2.3: a number or a date; 0 where it is neither."""
    if retry_after.strip().isdecimal():
        return min(float(retry_after), _LONGEST_WAIT_S)
    try:
        wait_s = parsedate_to_datetime(retry_after).timestamp() - time.time()
    except (ValueError, TypeError):
        return 0.0
    return min(max(0.0, wait_s), _LONGEST_WAIT_S)
