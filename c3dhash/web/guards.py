"""Who may ask, and what every answer says to a browser: around the application, before anything of it runs.

Note [Hosts]
    A page of a stranger may have its own name resolve to this machine (DNS rebinding), and a browser would then hand it
    our answers. The Host header still says the stranger's name, so that only names that this server is known by are
    answered. Addresses in digits are no names that somebody else could turn, and are known where it listens on them.

Note [Origins]
    A page of a stranger may send a form to us, with the cookie that a browser has of us. Such a request says where it
    comes from, in Sec-Fetch-Site and Origin, and is refused unless that is here. Programs say neither.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from c3dhash.config import ServeConfig
from c3dhash.web.uploads import drain

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "c3dhash_session"
COOKIE_SECONDS = 30 * 24 * 3600
LOGIN_PATH = "/api/login"
OPEN_PATHS = frozenset(("/login", LOGIN_PATH))  # answered without a token, and so is what lies under OPEN_FOLDER
OPEN_FOLDER = "/static/"
SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)
NO_STORE = (b"cache-control", b"no-store")


class Guards:
    """An application, and what stands before it.

    Args:
        application: what is guarded.
        config: says who may ask.
    """

    def __init__(self, application: Application, config: ServeConfig) -> None:
        self._application, self._config = application, config
        self._hosts = known_hosts(config)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = {name for name, _ in HEADERS}
                given = [pair for pair in message.get("headers", []) if pair[0].lower() not in ours]
                if not any(name.lower() == NO_STORE[0] for name, _ in given):
                    given.append(NO_STORE)
                message["headers"] = [*given, *HEADERS]
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._application(scope, receive, send_with_headers)
            return
        status, headers, text = refusal
        body = json.dumps({"error": text}).encode() if text else b""
        kind = [(b"content-type", b"application/json")] if text else []
        headers = [*kind, (b"content-length", str(len(body)).encode()), *headers]
        if scope["method"] not in SAFE_METHODS and not await _is_read(scope, receive):
            headers.append((b"connection", b"close"))
        await send_with_headers({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _refusal(self, scope: Scope) -> tuple[int, list[tuple[bytes, bytes]], str] | None:
        """Return status, headers and text of what is refused or sent elsewhere; None of what may go on."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "")
        if not self._is_known(host):
            text = f"this server is not called {host[:100]!r}: its names are given with --names."
            return 421, [], text
        if scope["method"] not in SAFE_METHODS and not _is_from_here(headers, host):
            return 403, [], "this request comes from a page of another site, and is refused."
        token, path = self._config.token, scope["path"]
        if token is None or path in OPEN_PATHS or path.startswith(OPEN_FOLDER):
            return None
        if _brings_token(headers, token):
            return None
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        if scope["method"] == "GET" and given and is_token(given[0], token):
            rest = urlencode([pair for pair in query if pair[0] != "token"])
            place = _own_path(scope) + (f"?{rest}" if rest else "")
            cookie = cookie_header(token, is_secure=scope.get("scheme") == "https")
            return 303, [(b"location", place.encode("latin-1")), (b"set-cookie", cookie.encode())], ""
        if "text/html" in headers.get("accept", "") and scope["method"] == "GET":
            place = _own_path(scope) + ("?" + urlencode(query) if query else "")
            behind = "" if place == "/" else "?" + urlencode({"next": place})
            return 303, [(b"location", f"/login{behind}".encode("latin-1"))], ""
        return 401, [(b"www-authenticate", b"Bearer")], (
            "a token is needed: send the header `Authorization: Bearer TOKEN`, or open the page with ?token=TOKEN once."
        )  # fmt: skip

    def _is_known(self, host: str) -> bool:
        name = _without_port(host).lower()
        if name in self._hosts:
            return True
        return "*" in self._hosts and _is_address(name)


async def _is_read(scope: Scope, receive: Receive) -> bool:
    """Read what is sent with a request that is refused, if it is not much: who still sends does not hear an answer, nor
    does a proxy. Who waits for leave to send it gets none. Tell whether all was read."""
    if any(name == b"expect" for name, _ in scope["headers"]):
        return False

    async def blocks() -> AsyncIterator[bytes]:
        is_more = True
        while is_more:
            message = await receive()
            is_more = message.get("more_body", False)
            yield message.get("body", b"")

    return await drain(blocks())


def _own_path(scope: Scope) -> str:
    """Return the path of a request as it was sent; one slash begins it, so that it is never another host."""
    sent: bytes = scope.get("raw_path") or str(scope["path"]).encode()
    path = sent.decode("latin-1").partition("?")[0]
    return "/" + path.lstrip("/\\")


def known_hosts(config: ServeConfig) -> frozenset[str]:
    """Return the names by which a server is called; "*" among them stands for any address. Note [Hosts]."""
    names = {name.strip().lower() for name in (config.names or "").split(",") if name.strip()}
    if config.is_local:
        return frozenset(names | {"localhost", "127.0.0.1", "::1", config.host.lower()})
    if config.host in ("0.0.0.0", "::", ""):
        own = {socket.gethostname().lower(), "localhost"}
        return frozenset(names | own | {"*"})
    return frozenset(names | {config.host.lower()})


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_from_here(headers: dict[str, str], host: str) -> bool:
    """Tell whether a request does not come from a page of somebody else. Note [Origins]."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == host.lower() != ""


def _brings_token(headers: dict[str, str], token: str) -> bool:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and is_token(given.strip(), token):
        return True
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return False
    return morsel is not None and hmac.compare_digest(morsel.value.encode(), session_of(token).encode())


def is_token(given: str, token: str) -> bool:
    """Tell whether a token is the right one, in a time that does not depend on how nearly it is."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def session_of(token: str) -> str:
    """Return what a cookie holds: it shows that its sender had the token, and not the token."""
    return hmac.new(token.encode(), b"c3dhash session", hashlib.sha256).hexdigest()


def cookie_header(token: str, *, is_secure: bool) -> str:
    """Return the header Set-Cookie of a browser that brought the token."""
    secure = "; Secure" if is_secure else ""
    return f"{COOKIE}={session_of(token)}; Path=/; HttpOnly; SameSite=Lax; Max-Age={COOKIE_SECONDS}{secure}"
