"""Runs a `LaunchPlan` on the real Podman backend, without a daemon: for tests of images."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

import trio
from attrs import evolve, frozen

from aileron_core.backend import Backend, BackendContext, Recipe, SandboxSpec
from aileron_core.sessions.plan import LaunchPlan
from aileron_core.sessions.spec import SpecInputs, compose

TEST_LABEL = {"io.aileron.test": "1"}


@frozen
class Ran:
    """What a program in a sandbox printed, and how it ended."""

    status: int
    output: str
    errors: str


def labelled(recipe: Recipe | None) -> Recipe | None:
    """The recipe with the label by which tests' images are found and removed."""
    if recipe is None:
        return None
    return evolve(recipe, labels={**recipe.labels, **TEST_LABEL}, base=labelled(recipe.base))


async def run_plan(plan: LaunchPlan, *argv: str) -> Ran:
    """Provide the plan's image, run its command (or ``argv``) and remove the sandbox."""
    from aileron_podman.backend import open_backend

    with tempfile.TemporaryDirectory(prefix="aileron-real-") as scratch:
        root = Path(scratch)
        for name in ("run", "state", "inside"):
            (root / name).mkdir(mode=0o755 if name == "inside" else 0o700)
        (root / "inside" / "tools.txt").write_text("")
        backend = await open_backend(BackendContext(str(root / "run"), str(root / "state")))
        was_there = await backend.image(plan.image) is not None
        try:
            await provide(backend, labelled(plan.recipe))
            return await _run(backend, _spec(plan, root, argv))
        finally:
            with trio.CancelScope(shield=True):
                await backend.aclose()
                if plan.tier == "host" and not was_there:
                    command = ["podman", "rmi", "--ignore", plan.image]
                    await trio.run_process(command, capture_stdout=True, capture_stderr=True)


async def provide(backend: Backend, recipe: Recipe | None) -> None:
    """Every image of the recipe's chain that is not here."""
    if recipe is None or await backend.image(recipe.reference) is not None:
        return
    await provide(backend, recipe.base)
    await backend.provide(recipe, lambda line: None)


def _spec(plan: LaunchPlan, root: Path, argv: tuple[str, ...]) -> SandboxSpec:
    from aileron_core.seccomp import build_profile

    session = f"s_{secrets.token_hex(5)}"
    inputs = SpecInputs(
        contributions=(),
        inside=str(root / "inside"),
        owner=str(root / "state"),
        host_user=(os.getuid(), os.getgid()),
        seccomp=build_profile((), machine=os.uname().machine),
        token="t",
        upper=str(root / "changes/upper"),
        work=str(root / "changes/work"),
    )
    existing = tuple(p for p in plan.workspace.protected if (plan.workspace.path / p).exists())
    plan = evolve(plan, session=session, workspace=evolve(plan.workspace, protected=existing))
    spec = compose(plan, inputs)
    labels = {**spec.labels, **TEST_LABEL}
    return evolve(spec, labels=labels, argv=argv or spec.argv, tty=False, stdin=False)


async def _run(backend: Backend, spec: SandboxSpec) -> Ran:
    sandbox = await backend.create(spec)
    said = {1: bytearray(), 2: bytearray()}
    try:
        stream = await backend.open(sandbox)
        with trio.fail_after(120):
            while (piece := await stream.receive()) is not None:
                said[piece[0]] += piece[1]
            ended = await stream.wait()
        await stream.aclose()
    finally:
        with trio.CancelScope(shield=True):
            await backend.remove(sandbox)
    return Ran(ended.status, said[1].decode(), said[2].decode())
