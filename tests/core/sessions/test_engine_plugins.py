"""What plugins add to a session: services, contributions, and how a broken one ends it."""

from __future__ import annotations

import pytest
import trio

from aileron_core.errors import AileronError
from aileron_core.hookspecs import hookimpl
from aileron_core.records import Contribution, HelperFile, Service


class Serving:
    """A plugin with two services, the second after the first."""

    name = "serving"

    def __init__(self):
        self.events = []
        self.fails = trio.Event()
        self.sandboxes = lambda: 0

    @hookimpl
    def aileron_services(self, session):
        """Two services."""
        return [
            Service("b-first", self._serve("first")),
            Service("a-second", self._serve("second"), after=("b-first",)),
        ]

    def _serve(self, name):
        async def serve(*, task_status):
            self.events.append(f"{name} starts")
            task_status.started()
            try:
                await self.fails.wait()
                raise RuntimeError("it broke")
            finally:
                self.events.append(f"{name} ends, {self.sandboxes()} sandboxes")

        return serve


async def test_services_start_in_order_and_outlive_the_container(bench):
    """Started in `after` order, stopped newest first, and only after the sandbox is gone."""
    plugin = Serving()
    plugin.sandboxes = lambda: len(bench.world.sandboxes)
    bench.plugins.append(plugin)
    async with bench.running() as engine:
        summary = await bench.launch("sleep", "infinity", detach=True)
        await engine.stop(summary.id, by="a test", grace=0)
    assert plugin.events == [
        "first starts",
        "second starts",
        "second ends, 0 sandboxes",
        "first ends, 0 sandboxes",
    ]


async def test_a_failing_service_ends_the_session(bench):
    """Nothing runs unprotected: when a service breaks, the sandbox is ended at once."""
    plugin = Serving()
    bench.plugins.append(plugin)
    async with bench.running():
        summary = await bench.launch("sleep", "infinity", detach=True)
        plugin.fails.set()
        record = await bench.record(summary.id)
    assert record.state == "failed"
    assert "service-failed" in record.reason
    assert bench.left() == []


async def test_a_service_that_does_not_start_undoes_the_launch(bench):
    """A service that fails before it is ready fails the launch, at the step listen."""

    class Broken:
        name = "broken"

        @hookimpl
        def aileron_services(self, session):
            """One that cannot."""

            async def serve(*, task_status):
                raise OSError("no")

            return [Service("broken", serve)]

    bench.plugins.append(Broken())
    async with bench.running():
        with pytest.raises(AileronError) as caught:
            await bench.launch("true", detach=True)
    assert caught.value.code == "service-failed"
    assert "'listen'" in caught.value.why
    assert bench.left() == []


async def test_contributions_reach_the_sandbox(bench):
    """Variables and helpers of a plugin are there; its program requirements are tried."""

    class Giving:
        name = "giving"

        @hookimpl
        def aileron_contributions(self, session):
            """A variable and a helper."""
            helper = HelperFile("bin/tool", b"#!/bin/sh\n", 0o555)
            return Contribution(environment={"X": "1"}, helpers=(helper,), requirements=("git",))

    bench.plugins.append(Giving())
    async with bench.running():
        summary = await bench.launch("sleep", "infinity", detach=True)
        sandbox = bench.world.of(summary.id)
        inside = bench.paths.session_runtime(summary.id) / "inside"
        assert sandbox.spec.env["X"] == "1"
        assert (inside / "bin/tool").stat().st_mode & 0o777 == 0o555
        assert (inside / "token").stat().st_mode & 0o777 == 0o400
