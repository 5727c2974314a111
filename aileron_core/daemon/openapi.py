"""OpenAPI 3.1 from the routes that are registered: nothing is written twice.

Attrs classes become JSON schemas by their annotations; docstrings become descriptions.
"""

from __future__ import annotations

import enum
import inspect
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
from attrs import define, field
from quart import Blueprint, Quart, current_app

from aileron_core import __version__
from aileron_core.daemon.calls import CallSpec, call

_PLAIN: Mapping[Any, Mapping[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    Path: {"type": "string", "pattern": "^/[^\\u0000]*$"},
    type(None): {"type": "null"},
    Any: {},
}
_ARRAYS = (tuple, list, frozenset, Sequence)
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "why", "hints"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "why": {"type": "string"},
                "hints": {"type": "array", "items": {"type": "string"}},
                "exit_status": {"type": "integer"},
            },
        }
    },
}


@define
class Schemas:
    """Collects the attrs classes that are met under ``#/components/schemas``."""

    found: dict[str, Any] = field(factory=dict)

    def of(self, kind: Any) -> dict[str, Any]:
        """The schema of a type.

        Raises:
            TypeError: JSON cannot say what this type says.
        """
        if kind in _PLAIN:
            return dict(_PLAIN[kind])
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return {"enum": [item.value for item in kind]}
        if isinstance(kind, type) and attrs.has(kind):
            return self._reference(kind)
        return self._generic(kind, typing.get_origin(kind), typing.get_args(kind))

    def _generic(self, kind: Any, origin: Any, arguments: tuple[Any, ...]) -> dict[str, Any]:
        if origin is Literal:
            return {"enum": list(arguments)}
        if origin in (typing.Union, types.UnionType):
            return {"anyOf": [self.of(one) for one in arguments]}
        if origin in _ARRAYS:
            return {"type": "array", "items": self.of(arguments[0])}
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        raise TypeError(f"no JSON schema for {kind}")

    def _reference(self, kind: type[Any]) -> dict[str, Any]:
        name = kind.__name__
        if name not in self.found:
            self.found[name] = {}  # a class may contain itself
            self.found[name] = self._object(kind)
        return {"$ref": f"#/components/schemas/{name}"}

    def field(self, one: attrs.Attribute[Any], kind: Any) -> dict[str, Any]:
        """The schema of a field: its type's, and the bounds that `calls.bounded` gave it."""
        bounds = {key: one.metadata[key] for key in ("minimum", "maximum") if key in one.metadata}
        return {**self.of(kind), **bounds}

    def _object(self, kind: type[Any]) -> dict[str, Any]:
        hints, fields = typing.get_type_hints(kind), attrs.fields(kind)
        return {
            "type": "object",
            "description": inspect.getdoc(kind) or "",
            "properties": {one.name: self.field(one, hints[one.name]) for one in fields},
            "required": [one.name for one in fields if one.default is attrs.NOTHING],
            "additionalProperties": False,
        }


def document(app: Quart, title: str) -> dict[str, Any]:
    """The OpenAPI document of an application."""
    schemas = Schemas()
    paths: dict[str, Any] = {}
    for rule in sorted(app.url_map.iter_rules(), key=lambda one: (one.rule, one.endpoint)):
        view = app.view_functions[rule.endpoint]
        path = re.sub(r"<(?:[^:>]*:)?([^>]+)>", r"{\1}", rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            paths.setdefault(path, {})[method.lower()] = _operation(schemas, rule, view)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": __version__},
        "paths": paths,
        "components": {"schemas": {**schemas.found, "Error": ERROR}},
    }


def _operation(schemas: Schemas, rule: Any, view: Any) -> dict[str, Any]:
    spec: CallSpec = getattr(view, "__aileron_call__", CallSpec(answer=Any))
    summary, _, description = (inspect.getdoc(view) or "").partition("\n")
    operation: dict[str, Any] = {
        "operationId": rule.endpoint,
        "summary": summary,
        "description": description.strip(),
        "parameters": [*_path_parameters(rule), *_query_parameters(schemas, spec)],
        "responses": _responses(schemas, spec),
    }
    if spec.body is not None:
        body = {"application/json": {"schema": schemas.of(spec.body)}}
        operation["requestBody"] = {"content": body, "required": _is_needed(spec.body)}
    return operation


def _is_needed(body: type[Any]) -> bool:
    return any(one.default is attrs.NOTHING for one in attrs.fields(body))


def _path_parameters(rule: Any) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "integer", "minimum": 0}
            if type(rule._converters.get(name)).__name__ == "IntegerConverter"
            else {"type": "string", "minLength": 1, "pattern": "^[^/]+$"},
        }
        for name in sorted(rule.arguments)
    ]


def _query_parameters(schemas: Schemas, spec: CallSpec) -> list[dict[str, Any]]:
    if spec.query is None:
        return []
    hints = typing.get_type_hints(spec.query)
    return [
        {
            "name": one.name,
            "in": "query",
            "required": one.default is attrs.NOTHING,
            "schema": schemas.field(one, _present(hints[one.name])),
        }
        for one in attrs.fields(spec.query)
    ]


def _present(kind: Any) -> Any:
    """The type without None: a query cannot say null, it leaves the parameter out."""
    kept = [one for one in typing.get_args(kind) if one is not type(None)]
    is_optional = typing.get_origin(kind) in (typing.Union, types.UnionType) and len(kept) == 1
    return kept[0] if is_optional else kind


def _responses(schemas: Schemas, spec: CallSpec) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": "What was asked for."}
    if spec.stream:
        answer["content"] = {spec.stream: {}}
    elif spec.answer is not None:
        answer["content"] = {"application/json": {"schema": schemas.of(spec.answer)}}
    error = {"$ref": "#/components/schemas/Error"}
    failed = {"description": "Why not.", "content": {"application/json": {"schema": error}}}
    return {str(spec.status): answer, "default": failed}


def openapi_blueprint(title: str) -> Blueprint:
    """``GET /v1/openapi.json`` for the application it is registered with."""
    calls = Blueprint("openapi", __name__)

    @calls.get("/v1/openapi.json")
    @call(answer=dict[str, Any])
    async def openapi() -> dict[str, Any]:
        """This description."""
        return document(current_app, title)

    return calls
