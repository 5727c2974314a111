"""The daemon, assembled: lock, log, database, record, gate, sessions, sockets; and its end."""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
import trio
from attrs import define, field
from quart import Blueprint
from quart_trio import QuartTrio

from aileron_core import __version__
from aileron_core.backend import Backend, BackendContext
from aileron_core.config import Config, load_config, schema_of
from aileron_core.config.layers import read_sources
from aileron_core.daemon import audit as audit_log
from aileron_core.daemon.api import host_blueprint
from aileron_core.daemon.app import app_running, check_version, make_app
from aileron_core.daemon.audit import AuditLog, open_audit
from aileron_core.daemon.context import Sessions
from aileron_core.daemon.database import SqliteDatabase, open_database
from aileron_core.daemon.gate import DecisionGate
from aileron_core.daemon.openapi import openapi_blueprint
from aileron_core.daemon.problems import DAEMON_RUNNING
from aileron_core.daemon.record_api import record_blueprint
from aileron_core.daemon.sandbox_api import make_sandbox_app
from aileron_core.daemon.serve import Bounded, HttpLimits, HttpServer, is_own, listen_on
from aileron_core.daemon.settings import DaemonSettings
from aileron_core.errors import EXIT_USAGE, AileronError, ErrorCode
from aileron_core.nearest import did_you_mean
from aileron_core.paths import Paths, make_private
from aileron_core.plugins import Hooks, load_hooks

if TYPE_CHECKING:
    from aileron_core.sessions.engine import SessionEngine

BACKEND_UNKNOWN = ErrorCode("backend-unknown", EXIT_USAGE, "There is no backend of that name.")

log = structlog.get_logger("aileron.daemon")


@define(eq=False)
class LocalDaemon:
    """The `Daemon` of this process."""

    paths: Paths
    host: str
    hooks: Hooks
    database: SqliteDatabase
    audit: AuditLog
    gate: DecisionGate
    started: float
    sessions: Sessions = field(init=False)
    recovered: tuple[str, ...] = ()
    draining: bool = False
    sandbox_app: QuartTrio = field(init=False)
    stopped: trio.Event = field(init=False, factory=trio.Event)
    """Set when the sessions are over and the API's listener ends; streams end themselves."""
    _ending: trio.Event = field(init=False, factory=trio.Event)
    _deadline: float | None = field(init=False, default=None)
    _backends: dict[tuple[str, str | None], Backend] = field(init=False, factory=dict)
    _opening: trio.Lock = field(init=False, factory=trio.Lock)

    async def backend(self, name: str, connection: str | None = None) -> Backend:
        """The backend of that name, opened once.

        Raises:
            AileronError: ``backend-unknown``, or whatever the backend has to say.
        """
        async with self._opening:
            key = (name, connection)
            if key not in self._backends:
                self._backends[key] = await self._open_backend(name, connection)
            return self._backends[key]

    async def _open_backend(self, name: str, connection: str | None) -> Backend:
        factories = {factory.name: factory for factory in self.hooks.backends()}
        if name not in factories:
            raise BACKEND_UNKNOWN(
                f"there is no backend {name!r}",
                hints=[did_you_mean(name, list(factories), what="backends")],
            )
        runtime = make_private(make_private(self.paths.runtime / "backends") / name)
        settings = await self._settings(name)
        context = BackendContext(str(runtime), str(self.paths.state), settings, connection)
        return await factories[name].open(context)

    async def _settings(self, table: str) -> Any:
        """A plugin's own settings, or None when it has none."""
        kind = self.hooks.settings().get(table)
        return None if kind is None else (await self.config()).table(table, kind)

    async def config(
        self,
        *,
        project: Path | None = None,
        environment: Mapping[str, str] | None = None,
        flags: Mapping[str, Any] | None = None,
        config_file: Path | None = None,
    ) -> Config:
        """All settings as they are now, for somebody in ``project`` with these flags.

        Raises:
            AileronError: ``config-…``.
        """
        read = partial(
            load_config,
            schema_of(self.hooks),
            paths=self.paths,
            project=project,
            environ=environment,
            flags=flags,
            config_file=config_file,
        )
        return await trio.to_thread.run_sync(read)

    async def close_backends(self) -> None:
        """Let go of every backend, newest first; one that fails does not keep the others."""
        while self._backends:
            (name, _), backend = self._backends.popitem()
            try:
                await backend.aclose()
            except Exception as error:  # noqa: BLE001 - a plugin's fault must not keep the others open
                log.error("backend did not close", backend=name, error=repr(error))

    async def drain(self, deadline: float | None) -> None:
        """No new session; those there are get ``deadline`` seconds (None: all they need)."""
        self.draining = True
        await self.sessions.drain(deadline)

    def shut_down(self, deadline: float | None) -> None:
        """Begin the end: drain, then stop; `until_shut_down` returns."""
        self._deadline = deadline
        self._ending.set()

    async def until_shut_down(self) -> float | None:
        """Until somebody wants the end; the drain's deadline."""
        await self._ending.wait()
        return self._deadline


def blueprints(daemon: LocalDaemon, side: str) -> list[Blueprint]:
    """The plugins' calls on one side of the API."""
    return [route.blueprint(daemon) for route in daemon.hooks.routes() if route.side == side]


def host_app(daemon: LocalDaemon) -> QuartTrio:
    """The application on the user's socket."""
    own = [
        host_blueprint(daemon),
        record_blueprint(daemon),
        openapi_blueprint("Aileron, host side"),
    ]
    app = make_app("aileron-host", [*own, *blueprints(daemon, "host")])
    app.before_request(check_version)
    return app


@contextmanager
def _locked(path: Path) -> Any:
    """Hold the lock that only one daemon of a user can hold; the kernel lets go of it at our end.

    Raises:
        AileronError: ``daemon-running``.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(fd, 32).decode("ascii", "replace").strip()
            raise DAEMON_RUNNING(
                "a daemon of yours runs already", why=f"process {pid} holds {path}"
            ) from None
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(fd)


@asynccontextmanager
async def daemon_parts(paths: Paths, hooks: Hooks) -> AsyncIterator[LocalDaemon]:
    """A daemon with database, record and gate; sessions and sockets are the caller's."""
    from aileron_core.sessions.store import MIGRATIONS

    migrations = (*audit_log.MIGRATIONS, *MIGRATIONS)
    host = socket.gethostname()
    async with (
        open_database(paths.database, migrations) as database,
        open_audit(paths.audit, host, database) as audit,
    ):
        daemon = LocalDaemon(
            paths, host, hooks, database, audit, DecisionGate(audit), started=time.time()
        )
        try:
            yield daemon
        finally:
            with trio.CancelScope(shield=True):
                await daemon.close_backends()


async def _end_on_signals(
    daemon: LocalDaemon,
    deadline: float,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """The first SIGTERM or SIGINT drains and stops; the second one ends the process at once."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        is_second = False
        async for number in signals:
            log.info("signal", signal=signal.Signals(number).name)
            if is_second:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)  # what is left is found at the next start
            is_second = True
            daemon.shut_down(deadline)


async def _recover(daemon: LocalDaemon, engine: SessionEngine) -> None:
    """End what an earlier daemon left, and say so."""
    daemon.recovered = tuple(await engine.recover())
    for line in daemon.recovered:
        log.warning("recovered", found=line)
    if daemon.recovered:
        await daemon.audit.record("daemon.recovered", None, {"found": daemon.recovered})


async def serve_daemon(daemon: LocalDaemon, ready: Callable[[], None]) -> None:
    """Run sessions and sockets until the daemon is shut down."""
    from aileron_core.sessions.engine import SessionEngine

    async with trio.open_nursery() as nursery:
        settings = (await daemon.config()).table("daemon", DaemonSettings)
        await nursery.start(_end_on_signals, daemon, settings.stop_deadline)
        daemon.sessions = engine = SessionEngine(daemon, nursery)
        await _recover(daemon, engine)
        app = host_app(daemon)
        daemon.sandbox_app = make_sandbox_app(blueprints(daemon, "sandbox"))
        async with app_running(app), app_running(daemon.sandbox_app), _sockets(daemon.paths) as own:
            nursery.start_soon(engine.serve_console, own[1])
            async with trio.open_nursery() as serving:
                server = HttpServer(Bounded(app, HttpLimits()), admits=is_own)
                await serving.start(server.serve, own[0], daemon.stopped)
                await _begin(daemon)
                ready()
                await _end(daemon, await daemon.until_shut_down())
        nursery.cancel_scope.cancel()


async def _begin(daemon: LocalDaemon) -> None:
    await daemon.audit.record("daemon.started", None, {"pid": os.getpid(), "version": __version__})
    log.info("started", pid=os.getpid(), version=__version__)
    # What was imported stays for ever: looking through it for garbage would cost a launch some
    # 20 ms now and then.
    gc.collect()
    gc.freeze()


async def _end(daemon: LocalDaemon, deadline: float | None) -> None:
    """Drain, record the end, and let the API's listener finish what is in flight."""
    await daemon.drain(deadline)
    try:
        await daemon.audit.record("daemon.stopped", None, {"pid": os.getpid()})
    except AileronError as error:
        log.error("the end was not recorded", error=error.message, why=error.why)
    log.info("stopped")
    daemon.stopped.set()


@asynccontextmanager
async def _sockets(paths: Paths) -> AsyncIterator[Sequence[socket.socket]]:
    """The API's and the console's listening sockets; their files go when it ends."""
    files = (paths.socket, paths.console)
    listeners = [listen_on(path) for path in files]
    try:
        yield listeners
    finally:
        for path in files:
            path.unlink(missing_ok=True)


async def run_daemon(paths: Paths, ready: Callable[[], None]) -> None:
    """Everything, from the lock to the end.

    Raises:
        AileronError: ``daemon-running`` and whatever else keeps the daemon from starting.
    """
    for directory in (paths.runtime, paths.state, paths.cache):
        make_private(directory)
    with _locked(paths.lock):
        hooks = load_hooks(read_sources(paths).disabled(), cache=paths.cache)
        async with daemon_parts(paths, hooks) as daemon:
            await serve_daemon(daemon, ready)
