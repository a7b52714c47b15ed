"""Why a host cannot be reached, found out by trying once more: the libraries that read streams say only that they could not."""

from __future__ import annotations

import socket

from ..sources.uri import SourceUri

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
TRIED_S = 2.0


def why_unreachable(uri: SourceUri) -> str:
    """One sentence; empty where the host does take a connection, or none is needed."""
    port = uri.port or _PORTS.get(uri.scheme)
    if port is None:
        return ""
    try:
        socket.create_connection((uri.host, port), TRIED_S).close()
    except socket.gaierror:
        return f"{uri.shown}: there is no host named {uri.host}; check the address and this machine's DNS"
    except ConnectionRefusedError:
        return f"{uri.shown}: {uri.host} takes no connection at port {port}; is its server on, and is the port right?"
    except (TimeoutError, OSError) as error:
        reason = "no answer" if isinstance(error, TimeoutError) else error.strerror
        return f"{uri.shown}: {uri.host} cannot be reached at port {port} ({reason}); is it on, and on this network?"
    return ""
