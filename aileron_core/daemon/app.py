"""The quart applications: one for the user's socket, one for the sessions' listeners."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import structlog
import trio
from quart import Blueprint, Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from aileron_core import __version__
from aileron_core.daemon.problems import DAEMON_VERSION, error_body, http_problem, http_status
from aileron_core.errors import INTERNAL, AileronError

log = structlog.get_logger("aileron.api")

_ANY_VERSION = {"/v1/status", "/v1/shutdown"}
"""Calls that an older or newer command may make: to see the daemon and to stop it."""


def make_app(name: str, blueprints: Iterable[Blueprint]) -> QuartTrio:
    """An application whose every failure is an error object."""
    app = QuartTrio(name, static_folder=None, template_folder=None)
    app.config["RESPONSE_TIMEOUT"] = None
    app.config["BODY_TIMEOUT"] = None  # `serve.Bounded` has read it already, within its own bounds
    app.url_map.strict_slashes = False
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    app.register_error_handler(AileronError, _answer)
    app.register_error_handler(HTTPException, _http_failed)
    app.register_error_handler(Exception, _failed)
    return app


async def _answer(error: AileronError) -> Response:
    return Response(
        json.dumps(error_body(error)), http_status(error), content_type="application/json"
    )


async def _http_failed(error: HTTPException) -> Response:
    status = error.code or 500
    message = f"{request.method} {request.path}: {error.name.lower()}"
    response = await _answer(http_problem(status, message))
    response.status_code = status
    for name, value in error.get_headers():
        if name.lower() == "allow":
            response.headers["Allow"] = value
    return response


async def _failed(error: Exception) -> Response:
    """A fault of ours; its text stays in the log, for it may quote anything.

    Faults of tasks come as groups: an error that is meant for the caller is looked for inside.
    """
    if isinstance(error, ExceptionGroup):
        meant = error.subgroup(AileronError)
        if meant is not None:
            return await _answer(_first(meant))
    log.error("call failed", method=request.method, path=request.path, exc_info=error)
    return await _answer(INTERNAL("the daemon failed", hints=["aileron daemon logs"]))


def _first(group: BaseExceptionGroup[Any]) -> AileronError:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


async def check_version() -> None:
    """Refuse the calls of a command of another version (`before_request` of the host's side).

    Raises:
        AileronError: ``daemon-version``.
    """
    theirs = request.headers.get("Aileron-Version", __version__)
    if theirs != __version__ and request.path not in _ANY_VERSION:
        raise DAEMON_VERSION(
            f"the daemon is version {__version__}, the command is version {theirs}",
            hints=["aileron daemon stop, then run the command again"],
        )


@asynccontextmanager
async def app_running(app: QuartTrio) -> AsyncIterator[None]:
    """What an ASGI server's lifespan does: the application may have background tasks meanwhile."""
    async with trio.open_nursery() as nursery:
        app.nursery = nursery
        await app.startup()
        try:
            yield
        finally:
            nursery.cancel_scope.cancel()
