"""OpenAPI is what the routes are, and what it says is true: fuzzed in process."""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
import schemathesis
import trio
from attrs import frozen
from hypothesis import HealthCheck, given, settings

from aileron_core.daemon.app import app_running
from aileron_core.daemon.main import daemon_parts, host_app
from aileron_core.daemon.openapi import Schemas, document
from aileron_core.daemon.sandbox_api import make_sandbox_app
from aileron_core.daemon.serve import Bounded, HttpLimits, HttpServer
from aileron_core.paths import Paths
from aileron_core.records import SessionState
from aileron_core.testing import hooks_with


@frozen
class Inner:
    """Something inside."""

    number: int
    state: SessionState = SessionState.ENDED


@frozen
class Sample:
    """Every kind of annotation."""

    text: str
    path: Path
    many: tuple[Inner, ...] = ()
    maybe: float | None = None
    named: Mapping[str, bool] | None = None
    word: Literal["a", "b"] = "a"
    anything: Any = None


def test_attrs_classes_become_schemas() -> None:
    """Fields, defaults, nesting, optional values, enumerations."""
    schemas = Schemas()
    assert schemas.of(Sample) == {"$ref": "#/components/schemas/Sample"}
    sample = schemas.found["Sample"]
    assert sample["required"] == ["text", "path"]
    assert sample["additionalProperties"] is False
    assert sample["description"] == "Every kind of annotation."
    assert sample["properties"]["many"] == {
        "type": "array",
        "items": {"$ref": "#/components/schemas/Inner"},
    }
    assert sample["properties"]["maybe"] == {"anyOf": [{"type": "number"}, {"type": "null"}]}
    assert sample["properties"]["word"] == {"enum": ["a", "b"]}
    assert sample["properties"]["anything"] == {}
    assert "ended" in schemas.found["Inner"]["properties"]["state"]["enum"]


def test_type_without_a_schema_is_a_fault() -> None:
    """A view that promises what JSON cannot say is found when the document is made."""
    with pytest.raises(TypeError, match="no JSON schema"):
        Schemas().of(set[int])


async def test_every_call_is_described(paths: Paths, sessions: Any) -> None:
    """Each route has a summary, its errors, and is in the document exactly once."""
    async with daemon_parts(paths, hooks_with()) as daemon:
        daemon.sessions = sessions
        app = host_app(daemon)
        found = json.loads(await (await app.test_client().get("/v1/openapi.json")).get_data())
    assert found["openapi"] == "3.1.0"
    operations = [one for path in found["paths"].values() for one in path.values()]
    assert len(operations) == len({one["operationId"] for one in operations})
    for operation in operations:
        assert operation["summary"].endswith(".")
        assert "default" in operation["responses"]
    assert {"/v1/status", "/v1/sessions/{ref}/stop", "/v1/audit/{seq}"} <= found["paths"].keys()


def test_sandbox_side_describes_itself_only() -> None:
    """The document that a sandbox sees names no call of the host's side."""
    found = document(make_sandbox_app(), "test")
    assert sorted(found["paths"]) == ["/v1/openapi.json", "/v1/session"]


@pytest.fixture
def served(paths: Paths, sessions: Any, loopback: socket.socket) -> Iterator[str]:
    """The host's side on a port of the loopback, in a thread of its own; its address."""
    started: queue.Queue[tuple[trio.lowlevel.TrioToken, trio.Event]] = queue.Queue()

    async def serve() -> None:
        async with daemon_parts(paths, hooks_with()) as daemon:
            daemon.sessions = sessions
            for number in range(5):
                await daemon.audit.record("a", None, {"n": number})
            app, stop = host_app(daemon), trio.Event()
            async with app_running(app), trio.open_nursery() as nursery:
                server = HttpServer(Bounded(app, HttpLimits()))
                await nursery.start(server.serve, loopback, stop)
                started.put((trio.lowlevel.current_trio_token(), stop))

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    token, stop = started.get(timeout=30)
    yield f"http://127.0.0.1:{loopback.getsockname()[1]}"
    token.run_sync_soon(stop.set)
    thread.join(timeout=30)


def test_what_the_document_says_is_true(served: str) -> None:
    """Fuzzed by the document itself, no call fails, and every answer is one that it describes."""
    schema = schemathesis.openapi.from_url(f"{served}/v1/openapi.json").exclude(path="/v1/events")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= 10
    for operation in operations:

        @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def fuzz(case: schemathesis.Case) -> None:
            case.call_and_validate()

        fuzz()
