"""Who may look at the page: whoever has the token, by an address that is ours, and no other site's script.

The token comes as `Authorization: Bearer`, as `?token=`, or in the cookie that the page's first visit by `?token=` leaves behind.
"""

from __future__ import annotations

import hmac
import secrets
from urllib.parse import SplitResult, urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from .options import PageOptions, is_loopback

OPEN_PATHS = frozenset({"/healthz", "/readyz"})  # probes carry no token

_HEADERS = {
    # Nothing from elsewhere, nothing inline; and nobody frames the page or shows its pictures on another site.
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Access:
    """What is asked of every request."""

    def __init__(self, options: PageOptions) -> None:
        """Where others can reach the page and no token is given, one is made."""
        self._on_loopback = options.on_loopback
        self.token = options.token or (None if options.on_loopback else secrets.token_urlsafe(24))

    def protect(self, app: web.Application) -> None:
        """Let nothing into `app` that may not, and give every answer its headers."""
        app.middlewares.append(self._check)
        app.on_response_prepare.append(_add_headers)

    @web.middleware
    async def _check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not _has_host(request):
            raise web.HTTPBadRequest(text=f"{request.host!a} is no name of a machine\n")
        # A site whose name was made to point here (DNS rebinding) shows by the name that the browser asked for.
        if self._on_loopback and not _names_loopback(request.host):
            raise web.HTTPForbidden(
                text=f"{request.host!a} is no name of this machine's own; open the page at 127.0.0.1\n"
            )
        if request.path in OPEN_PATHS:
            return await handler(request)
        if not self._has_token(request):
            raise web.HTTPUnauthorized(
                text="the token is missing or wrong; open the whole address that palijet printed at its start\n",
                headers={hdrs.WWW_AUTHENTICATE: "Bearer"},
            )
        # A browser sends cookies with another site's WebSocket, and says whose it is.
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and not _is_own(origin, request.host):
            raise web.HTTPForbidden(text=f"{origin!a} is another site\n")
        if request.path == "/" and "token" in request.query and self.token is not None:
            raise self._into_cookie(request)
        return await handler(request)

    def _has_token(self, request: web.Request) -> bool:
        if self.token is None:
            return True
        scheme, _, bearer = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        given = (
            bearer.strip() if scheme.lower() == "bearer" else "",
            request.query.get("token", ""),
            request.cookies.get(_cookie_name(request), ""),
        )
        return any(hmac.compare_digest(_bytes(one), _bytes(self.token)) for one in given)

    def _into_cookie(self, request: web.Request) -> web.HTTPException:
        """The page once more, without the token in its address, where histories and screenshots would keep it."""
        found = web.HTTPSeeOther("/")
        found.set_cookie(_cookie_name(request), self.token or "", path="/", httponly=True, samesite="Strict")
        return found


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


def _cookie_name(request: web.Request) -> str:
    """A cookie is sent to every port of a machine, so each has its own."""
    return f"palijet-{request.url.port}"


def _has_host(request: web.Request) -> bool:
    """Whether the Host header is one; aiohttp reads it when the whole address is asked for."""
    try:
        return bool(request.url)
    except ValueError:  # UnicodeError among them
        return False


def _names_loopback(host: str) -> bool:
    parts = _parts(f"//{host}")
    return parts is not None and is_loopback(parts.hostname or "")


def _is_own(origin: str, host: str) -> bool:
    """Whether a page of this origin is ours, by the name that the browser asked for."""
    parts = _parts(origin)
    return parts is not None and parts.netloc == host


def _parts(address: str) -> SplitResult | None:
    """None: it is no address, as `http://[`."""
    try:
        return urlsplit(address)
    except ValueError:
        return None


def _bytes(text: str) -> bytes:
    """As they came: aiohttp reads a header's bytes that are no UTF-8 as lone surrogates."""
    return text.encode(errors="surrogateescape")
