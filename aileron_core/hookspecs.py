"""Every hook of Aileron, one page each: when it is called, what to return, a whole example.

Hooks are synchronous, return records and do nothing else; the core runs what the records carry.
They are grouped by the moment at which they are called. A plugin is a module (or object) with
functions of these names, marked with `hookimpl` and registered as an entry point in the group
``aileron.plugins``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from aileron_core.errors import AileronError
    from aileron_core.records import (
        ApprovalChannel,
        BackendFactory,
        Check,
        Contribution,
        Hint,
        Mode,
        NamedDecider,
        Observer,
        Route,
        SecretSource,
        Service,
        Session,
    )

PROJECT = "aileron"
ENTRY_POINT_GROUP = "aileron.plugins"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


# --- start-up ---------------------------------------------------------------------------------


@hookspec
def aileron_modes() -> Iterable[Mode]:
    """Add subcommands to ``aileron``.

    Called once, in the command line, when a subcommand is looked up or ``--help`` lists them.
    Import nothing heavy here: `Mode.load` is the place.

    Returns:
        Any number of `Mode`. A name that two plugins give is an error that names both.

    Example::

        from aileron_core.hookspecs import hookimpl
        from aileron_core.records import Mode

        def load():
            import click

            @click.command()
            def hello() -> None:
                '''Say hello.'''
                click.echo("hello")

            return hello

        @hookimpl
        def aileron_modes():
            return [Mode("hello", "say hello", load)]
    """


@hookspec
def aileron_backends() -> Iterable[BackendFactory]:
    """Add container backends, chosen by ``[launch] backend`` or ``--sandbox NAME``.

    Called once in the daemon. A backend is opened when the first session needs it.

    Returns:
        Any number of `BackendFactory`. Two of one name are an error that names both plugins.

    Example::

        from aileron_core.hookspecs import hookimpl
        from aileron_core.records import BackendFactory

        async def open_cluster(context):
            from my_cluster import ClusterBackend
            return await ClusterBackend.connect(context.connection)

        @hookimpl
        def aileron_backends():
            return [BackendFactory("cluster", "Pods on a Kubernetes cluster", open_cluster)]
    """


@hookspec
def aileron_settings() -> type[Any]:
    """Declare the plugin's configuration table: an attrs class whose fields are the keys.

    Called once per process, before anything reads configuration. The table is named like the
    plugin's entry point. Annotations are the types (``str``, ``int``, ``float``, ``bool``,
    ``Path``, ``tuple[X, ...]``, ``Mapping[str, X]``, ``Literal``, ``X | None``, nested attrs
    classes); every field has a default and the class's docstring documents each
    (``docs/settings.md`` is checked against it). Use `aileron_core.config.setting` for a field
    that a project's own file may tighten.

    Returns:
        One attrs class.

    Example::

        from attrs import frozen
        from aileron_core.config import setting
        from aileron_core.hookspecs import hookimpl

        @frozen
        class Settings:
            greeting: str = setting("hello", "What to say.")

        @hookimpl
        def aileron_settings():
            return Settings
    """


@hookspec
def aileron_checks() -> Iterable[Check]:
    """Add tests to ``aileron doctor`` that *try* whether a protection holds on this machine.

    Called when doctor runs. A check does the forbidden thing in a probe sandbox and looks whether
    it fails; it never reports what is merely configured.

    Returns:
        Any number of `Check`.

    Example::

        from aileron_core.hookspecs import hookimpl
        from aileron_core.records import Check, CheckResult

        async def no_root(probe):
            result = await probe.sh("id -u")
            if result.output.strip() != "0":
                return CheckResult("holds", "the agent is uid " + result.output.strip())
            return CheckResult("does not hold", "the agent is root", "report this")

        @hookimpl
        def aileron_checks():
            return [Check("no-root", "the agent is not root", no_root)]
    """


# --- daemon -----------------------------------------------------------------------------------


@hookspec
def aileron_routes() -> Iterable[Route]:
    """Add calls to the API, on the host's side or the sandbox's.

    Called once when the daemon starts. Each view documents itself for OpenAPI (see
    `aileron_core.daemon.openapi`).

    Returns:
        Any number of `Route`.

    Example::

        from aileron_core.hookspecs import hookimpl
        from aileron_core.records import Route

        def blueprint(daemon):
            from quart import Blueprint

            calls = Blueprint("weather", __name__)

            @calls.get("/v1/weather")
            async def weather():
                '''The weather, as the daemon sees it.'''
                return {"weather": "fine"}

            return calls

        @hookimpl
        def aileron_routes():
            return [Route("weather", "host", blueprint)]
    """


# --- session ----------------------------------------------------------------------------------


@hookspec
def aileron_contributions(session: Session) -> Contribution | None:
    """Add mounts, environment, helpers, listeners and seccomp rules to a session's sandbox.

    Called once per session while it is planned (and by ``--dry-run``): return data, touch nothing.

    Args:
        session: the facts known at planning; its ``listeners`` are still empty.

    Returns:
        One `Contribution`, or None.

    Example::

        from aileron_core.backend import Mount
        from aileron_core.hookspecs import hookimpl
        from aileron_core.records import Contribution

        @hookimpl
        def aileron_contributions(session):
            return Contribution(mounts=(Mount("/mnt/reference", source="/srv/reference"),))
    """


@hookspec
def aileron_services(session: Session) -> Iterable[Service]:
    """Add services that run beside a session, in the daemon.

    Called once per session, when its listeners exist and before its first instruction runs.

    Args:
        session: its ``listeners`` hold the sockets that were asked for, by name.

    Returns:
        Any number of `Service`.

    Example::

        import trio
        from aileron_core.hookspecs import hookimpl
        from aileron_core.records import Service

        @hookimpl
        def aileron_services(session):
            async def serve(*, task_status=trio.TASK_STATUS_IGNORED):
                task_status.started()
                await trio.sleep_forever()

            return [Service("idle", serve)]
    """


# --- deciding ---------------------------------------------------------------------------------


@hookspec
def aileron_deciders(session: Session) -> Iterable[NamedDecider]:
    """Take part in every decision about a session. The strictest verdict of all wins.

    Called once per session. A decider can make things stricter, never looser; one that fails or is
    too slow counts as deny.

    Returns:
        Any number of `NamedDecider`.

    Example::

        from aileron_core.hookspecs import hookimpl
        from aileron_core.records import Decision, NamedDecider, Verdict

        async def no_friday(request):
            import datetime
            if datetime.date.today().weekday() == 4:
                return Decision(Verdict.ASK, "plugin:friday", "nothing ships on a Friday unasked")
            return None

        @hookimpl
        def aileron_deciders(session):
            return [NamedDecider("friday", no_friday)]
    """


@hookspec
def aileron_secret_sources() -> Iterable[SecretSource]:
    """Add a place that credentials' ``source = "scheme:reference"`` may name.

    For the plugin `proxy`, which will fetch credentials; nothing calls it before that.

    Returns:
        Any number of `SecretSource`. Two of one scheme are an error that names both plugins.

    Example::

        from aileron_core.hookspecs import hookimpl
        from aileron_core.records import SecretSource

        async def fetch(reference):
            import trio
            return await trio.Path("/etc/my-secrets", reference).read_bytes()

        @hookimpl
        def aileron_secret_sources():
            return [SecretSource("mine", fetch)]
    """


@hookspec
def aileron_approval_channels() -> Iterable[ApprovalChannel]:
    """Add a place where pending approvals are announced.

    For the plugin `approvals`, which will announce; nothing calls it before that. A channel
    announces; it never decides.

    Returns:
        Any number of `ApprovalChannel`.

    Example::

        from aileron_core.hookspecs import hookimpl
        from aileron_core.records import ApprovalChannel

        async def announce(approval):
            print("somebody is waiting:", approval)

        @hookimpl
        def aileron_approval_channels():
            return [ApprovalChannel("print", announce)]
    """


# --- watching ---------------------------------------------------------------------------------


@hookspec
def aileron_observers(session: Session) -> Iterable[Observer]:
    """Watch a session's events as they are recorded.

    Called once per session. Observers are synchronous, cannot veto, and a failing one is logged and
    left out for the rest of the session.

    Returns:
        Any number of callables taking an `Event`.

    Example::

        from aileron_core.hookspecs import hookimpl

        @hookimpl
        def aileron_observers(session):
            def observe(event):
                print(event.type)

            return [observe]
    """


# --- trouble ----------------------------------------------------------------------------------


@hookspec
def aileron_error_hints(error: AileronError) -> Iterable[Hint]:
    """Say more about what to do when an error is shown.

    Called in the command line just before an error is printed.

    Args:
        error: what will be shown; do not change it.

    Returns:
        Hints; those whose ``code`` is the error's are shown, after its own.

    Example::

        from aileron_core.hookspecs import hookimpl
        from aileron_core.records import Hint

        @hookimpl
        def aileron_error_hints(error):
            return [Hint("ask the build team for access", "image-missing")]
    """
