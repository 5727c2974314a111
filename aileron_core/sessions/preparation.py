"""The step `prepare`, carried out: image, files and stubs at the same time, each undoable."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

import trio
from attrs import define, field

from aileron_core.backend import Backend, ImageInfo
from aileron_core.daemon.context import Daemon
from aileron_core.sessions import prepare
from aileron_core.sessions.certificates import SessionAuthority
from aileron_core.sessions.files import SessionFiles, remove_tree
from aileron_core.sessions.plan import LaunchPlan
from aileron_core.sessions.spec import API_NAMES, Contributions
from aileron_core.sessions.stubs import StubKeeper
from aileron_core.sessions.undo import Undo


class Workshop(Protocol):
    """What sessions of one daemon share while they are prepared."""

    daemon: Daemon
    stubs: StubKeeper
    stub_lock: trio.Lock


@define(eq=False)
class Preparation:
    """One session's preparation; ``authority`` and ``tls`` are there once `carry_out` returns."""

    shop: Workshop
    plan: LaunchPlan
    token: str = field(repr=False)
    contributions: Contributions
    progress: Callable[[str], None]
    undo: Undo
    authority: SessionAuthority = field(init=False, repr=False)
    tls: ssl.SSLContext = field(init=False, repr=False)
    """For the session's API listener."""

    async def carry_out(self, backend: Backend) -> ImageInfo:
        """The image, once everything is there."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._files)
            nursery.start_soon(self._stubs)
            return await prepare.ensure_image(backend, self.plan, self.progress)

    @property
    def files(self) -> SessionFiles:
        """The session's directory."""
        return SessionFiles(self.shop.daemon.paths.session_runtime(self.plan.session))

    async def _files(self) -> None:
        self.authority = SessionAuthority(
            self.plan.session, now=time.time(), lifetime=self.plan.timeout
        )
        root = self.files.root
        self.undo.later("the CA key", self._destroy_key)
        self.undo.later(
            f"the directory {root}", partial(trio.to_thread.run_sync, remove_tree, root)
        )
        write = partial(
            prepare.write_session_files,
            self.files,
            self.contributions,
            self.authority,
            token=self.token,
            roots=b"",
        )
        await trio.to_thread.run_sync(write)
        self.tls = await trio.to_thread.run_sync(self.authority.server_context, API_NAMES)

    async def _destroy_key(self) -> None:
        self.authority.destroy()

    async def _stubs(self) -> None:
        paths, workspace = self.shop.daemon.paths, self.plan.workspace
        await trio.to_thread.run_sync(prepare.make_directories, paths, self.plan)
        if workspace.mode == "ro":
            return
        root, below = prepare.stub_root(paths, workspace, self.plan.session)
        self.undo.later("stubs of protected paths", self._remove_stubs)
        make = partial(
            self.shop.stubs.make,
            self.plan.session,
            root,
            workspace.protected,
            owner=workspace.owner,
            journal=prepare.journal_of(paths, self.plan.session),
            below=below,
        )
        async with self.shop.stub_lock:
            await trio.to_thread.run_sync(make)

    async def _remove_stubs(self) -> None:
        journal = prepare.journal_of(self.shop.daemon.paths, self.plan.session)
        release = partial(self.shop.stubs.release, self.plan.session, journal)
        async with self.shop.stub_lock:
            await trio.to_thread.run_sync(release)
