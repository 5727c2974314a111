"""The sandbox's side of the API: HTTPS on a socket inside one session's network namespace.

The socket says which session calls: nothing that a client sends can choose another one. The bearer
token must match as well, so that a program that may connect but not read the token gets nowhere.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import trio
from attrs import frozen
from quart import Blueprint
from quart_trio import QuartTrio

from aileron_core.daemon.app import make_app
from aileron_core.daemon.calls import call, scope_of_request
from aileron_core.daemon.openapi import openapi_blueprint
from aileron_core.daemon.problems import http_problem
from aileron_core.daemon.serve import Bounded, HttpLimits, HttpServer, Scope
from aileron_core.records import Session

if TYPE_CHECKING:
    from aileron_core.daemon.context import Daemon

LIMITS = HttpLimits(connections=64)
"""Of one session."""
_SESSION = "aileron_session"


class HasSandboxApp(Protocol):
    """The part of the daemon that the sandbox's side needs."""

    @property
    def sandbox_app(self) -> QuartTrio:
        """One application for all sessions: `make_sandbox_app`."""


@frozen
class SessionView:
    """A session as its own sandbox may know it."""

    id: str
    name: str
    agent: str
    workspace: str
    workspace_mode: str
    image: str
    tier: str
    policy: str
    state: str
    mediates: tuple[str, ...]
    """What goes through the daemon: the names of the session's listeners but the API's own."""
    notes: tuple[str, ...]


def calling_session() -> Session:
    """The session whose sandbox makes the call that is being answered."""
    session: Session = scope_of_request()[_SESSION]
    return session


def session_blueprint() -> Blueprint:
    """The core's call on the sandbox's side."""
    calls = Blueprint("session", __name__)

    @calls.get("/v1/session")
    @call(answer=SessionView)
    async def session() -> SessionView:
        """What this sandbox is: agent, workspace, policy."""
        return _view(calling_session())

    return calls


def _view(session: Session) -> SessionView:
    return SessionView(
        id=session.id,
        name=session.name,
        agent=session.agent,
        workspace=str(session.workspace),
        workspace_mode=session.workspace_mode,
        image=session.image,
        tier=session.tier,
        policy=session.policy,
        state=session.state.value,
        mediates=tuple(sorted(name for name in session.listeners if name != "api")),
        notes=tuple(session.notes),
    )


def make_sandbox_app(blueprints: Sequence[Blueprint] = ()) -> QuartTrio:
    """The application behind every session's listener; host-side calls do not exist in it."""
    return make_app(
        "aileron-sandbox",
        [session_blueprint(), openapi_blueprint("Aileron, sandbox side"), *blueprints],
    )


@frozen
class TokenGuard:
    """Lets requests pass that carry the session's bearer token."""

    digest: bytes
    """SHA-256 of the token."""

    def __call__(self, scope: Scope) -> None:
        """Look at one request's head.

        Raises:
            AileronError: ``token-refused``.
        """
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, token = (given[0] if len(given) == 1 else b"").partition(b" ")
        # Digests are compared, in constant time; the schemes' names are no secret (RFC 9110, 11.1).
        digest = hashlib.sha256(token.strip()).digest()
        if not hmac.compare_digest(digest, self.digest) or scheme.lower() != b"bearer":
            raise http_problem(401, "the call needs the session's bearer token")


async def serve_sandbox_api(
    daemon: HasSandboxApp | Daemon,
    session: Session,
    listener: socket.socket,
    ssl_context: ssl.SSLContext,
    token_sha256: bytes,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer the session's calls on ``listener`` until cancelled, then close it.

    Args:
        daemon: what has the application.
        session: whose socket this is.
        listener: bound and listening in the sandbox's network namespace.
        ssl_context: a server's, with a certificate that the sandbox trusts.
        token_sha256: SHA-256 of the session's token, 32 bytes.
    """
    if len(token_sha256) != hashlib.sha256().digest_size:
        raise ValueError("the token's digest has the wrong length")
    app: Any = daemon
    bounded = Bounded(
        app.sandbox_app, LIMITS, extra={_SESSION: session}, guard=TokenGuard(token_sha256)
    )
    server = HttpServer(bounded, ssl_context=ssl_context)
    await server.serve(listener, trio.Event(), task_status=task_status)
