"""How a view of the API is written: an async function with `call`, attrs classes in and out.

Example::

    @calls.post("/v1/sessions/<ref>/stop")
    @call(body=Stop, answer=SessionSummary)
    async def stop(ref: str, body: Stop) -> SessionSummary:
        '''End a session and wait until it has ended.'''
        return await daemon.sessions.stop(ref, by="api", grace=body.grace)

`call` checks what comes in, writes what goes out, and carries both for `openapi`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import cattrs
import quart
from attrs import field, frozen, validators
from cattrs.errors import ClassValidationError, IterableValidationError
from cattrs.gen import make_dict_structure_fn
from cattrs.v import transform_error
from quart import Response, request

from aileron_core.daemon.problems import http_problem

View = Callable[..., Awaitable[Any]]
T = TypeVar("T")

HEARTBEAT = 15.0
"""Seconds after which a silent stream sends a comment, so that a dead client is noticed."""


def bounded(default: Any, low: float, high: float, *, or_none: bool = False) -> Any:
    """A field for a number from ``low`` to ``high``, or for None as well."""
    inside = validators.and_(validators.ge(low), validators.le(high))
    return field(
        default=default,
        validator=validators.optional(inside) if or_none else inside,
        metadata={"minimum": low, "maximum": high},
    )


@frozen
class CallSpec:
    """What goes in and comes out of a call; attrs classes, or None for nothing."""

    body: type[Any] | None = None
    query: type[Any] | None = None
    answer: Any = None
    status: int = 200
    stream: str = ""
    """The media type of a streamed answer, whose objects are ``answer``s."""


def _strictly(kind: type[T]) -> Callable[[Any, Any], T]:
    """Take values of exactly this type: "3" is no number, and true neither."""

    def structure(value: Any, _: Any) -> T:
        if type(value) is not kind:
            raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
        return value

    return structure


def _number(value: Any, _: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a number, got {type(value).__name__}")
    return float(value)


def _absolute(value: Any, _: Any) -> Path:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError("expected an absolute path")
    return Path(value)


def _truth(value: Any, _: Any) -> bool:
    words = {"": True, "1": True, "true": True, "0": False, "false": False}
    return words[str(value)]


def _no_extras(converter: cattrs.Converter) -> cattrs.Converter:
    def is_attrs(kind: Any) -> bool:
        return hasattr(kind, "__attrs_attrs__")

    def factory(kind: Any) -> Any:
        return make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)

    converter.register_structure_hook_factory(is_attrs, factory)
    return converter


def json_converter() -> cattrs.Converter:
    """A converter for JSON bodies: exact types, no unknown keys."""
    converter = _no_extras(cattrs.Converter())
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _strictly(kind))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(Path, _absolute)
    converter.register_unstructure_hook(Path, str)
    return converter


def query_converter() -> cattrs.Converter:
    """A converter for query strings, where everything is text."""
    converter = _no_extras(cattrs.Converter())
    converter.register_structure_hook(bool, _truth)
    return converter


CONVERTER = json_converter()
_QUERY = query_converter()


def _structured(converter: cattrs.Converter, raw: Any, kind: type[T], what: str) -> T:
    if not isinstance(raw, dict):
        raise http_problem(400, f"the {what} is not right", why="it is no JSON object")
    try:
        return converter.structure(raw, kind)
    except (ClassValidationError, IterableValidationError) as error:
        why = "; ".join(transform_error(error))
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        why = str(error)
    raise http_problem(400, f"the {what} is not right", why=why)


async def _read_body(kind: type[Any]) -> Any:
    raw = await request.get_data()
    try:
        decoded = json.loads(raw) if raw else {}
    except (ValueError, RecursionError) as error:
        raise http_problem(400, "the body is no JSON", why=str(error)) from None
    return _structured(CONVERTER, decoded, kind, "body")


def _read_query(kind: type[Any]) -> Any:
    repeated = [key for key, values in request.args.lists() if len(values) > 1]
    if repeated:
        raise http_problem(400, "the query is not right", why=f"{repeated[0]} is given twice")
    return _structured(_QUERY, request.args.to_dict(), kind, "query")


def call(
    *,
    body: type[Any] | None = None,
    query: type[Any] | None = None,
    answer: Any = None,
    status: int = 200,
    stream: str = "",
) -> Callable[[View], View]:
    """Decorate a view: it gets ``body=`` and ``query=`` as attrs objects and returns ``answer``.

    A streamed call returns an async iterator of lines (`sse`, or JSON with a newline).
    """
    spec = CallSpec(body, query, answer, status, stream)

    def decorate(view: View) -> View:
        @functools.wraps(view)
        async def wrapped(**arguments: Any) -> Any:
            if spec.query is not None:
                arguments["query"] = _read_query(spec.query)
            if spec.body is not None:
                arguments["body"] = await _read_body(spec.body)
            return _respond(spec, await view(**arguments))

        wrapped.__aileron_call__ = spec  # type: ignore[attr-defined]  # read by `openapi`
        return wrapped

    return decorate


def _respond(spec: CallSpec, result: Any) -> Response:
    if spec.stream:
        response = Response(result, status=spec.status, content_type=spec.stream)
        response.headers["Cache-Control"] = "no-store"
        response.timeout = None  # quart would cut the stream after a minute
        return response
    text = "" if result is None else json.dumps(CONVERTER.unstructure(result))
    return Response(text, status=spec.status, content_type="application/json")


def sse(event: str, data: Any, number: int | None = None) -> bytes:
    """One server-sent event (WHATWG HTML, 9.2); ``Last-Event-ID`` resumes after ``number``."""
    lines = [] if number is None else [f"id: {number}"]
    lines += [f"event: {event}", f"data: {json.dumps(data)}"]
    return ("\n".join(lines) + "\n\n").encode()


def last_event_id() -> int | None:
    """The number in ``Last-Event-ID``, or None.

    Raises:
        AileronError: ``bad-request`` when it is no number.
    """
    given = request.headers.get("Last-Event-ID")
    if given is None:
        return None
    if not given.isascii() or not given.isdigit() or len(given) > 18:
        raise http_problem(400, "Last-Event-ID is no number")
    return int(given)


def scope_of_request() -> Any:
    """The ASGI scope of the request being answered (what `Bounded.extra` adds is in it)."""
    return quart.request.scope
