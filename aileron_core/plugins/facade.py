"""The one typed way to ask plugins: a method per hook.

Every method asks all plugins, checks the types of what they return, flattens it, sorts it by name
and refuses two things of one name. Order of registration never matters. A plugin that fails in a
start-up or daemon hook is set aside and listed in `Hooks.broken`; in a session or deciding hook it
is an error, because a session must not run with less than was asked for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy
from attrs import evolve

from aileron_core import records
from aileron_core.errors import AileronError
from aileron_core.plugins.facts import (
    BACKEND_DISABLED,
    PLUGIN_BROKEN,
    PLUGIN_CONFLICT,
    PLUGIN_FAILED,
    PLUGIN_STALE,
    PluginFact,
    leave_out,
)

if TYPE_CHECKING:
    from aileron_core.records import (
        ApprovalChannel,
        BackendFactory,
        Check,
        Contribution,
        Mode,
        NamedDecider,
        Observer,
        Route,
        SecretSource,
        Service,
        Session,
    )

T = TypeVar("T")
Pairs = list[tuple[str, T]]
"""``(plugin's name, what it gave)``."""


class Hooks:
    """All plugins, asked through typed methods.

    Get one from `aileron_core.plugins.load_hooks`, in tests from `aileron_core.testing.hooks_with`.
    """

    def __init__(self, manager: pluggy.PluginManager, plugins: Iterable[PluginFact]) -> None:
        self._manager = manager
        self._facts = {fact.name: fact for fact in plugins}

    # --- facts --------------------------------------------------------------------------------

    @property
    def plugins(self) -> tuple[PluginFact, ...]:
        """Every plugin that is installed, sorted by name, the disabled and broken ones too."""
        return tuple(self._facts[name] for name in sorted(self._facts))

    @property
    def broken(self) -> tuple[PluginFact, ...]:
        """The plugins that are on and do not work."""
        return tuple(fact for fact in self.plugins if fact.broken)

    def is_on(self, name: str, session: Session | None = None) -> bool:
        """The plugin is installed, enabled, whole, and not left out of this session."""
        fact = self._facts.get(name)
        if fact is None or not fact.enabled or fact.broken:
            return False
        return session is None or name not in session.disabled

    def require_whole(self, disabled: Iterable[str] = ()) -> None:
        """Refuse to go on with a plugin that is on and broken: what it enforces would be missing.

        Args:
            disabled: plugins that are left out on purpose.

        Raises:
            AileronError: ``plugin-broken``.
        """
        left_out = set(disabled)
        for fact in self.broken:
            if fact.name not in left_out:
                raise PLUGIN_BROKEN(
                    f"the plugin {fact.name!r} is broken",
                    why=fact.broken,
                    hints=[leave_out(fact.name), f"aileron plugins show {fact.name}"],
                )

    def require_current(self, disabled: Iterable[str]) -> None:
        """Refuse to go on without a plugin that was off when this process loaded, and is on now.

        Args:
            disabled: plugins that are off now, whoever says so.

        Raises:
            AileronError: ``plugin-stale``.
        """
        now = set(disabled)
        for fact in self.plugins:
            if not fact.enabled and fact.name not in now:
                raise PLUGIN_STALE(
                    f"the daemon runs without the plugin {fact.name!r}, which is on now",
                    why=f"when it started the plugin was {fact.why}",
                    hints=["aileron daemon stop; the next command starts it anew"],
                )

    def require_backend(self, name: str, disabled: Iterable[str]) -> None:
        """Refuse a backend whose plugin is switched off, also since this process loaded.

        Args:
            name: the backend; one that nobody gives is left to who opens it.
            disabled: plugins that are off now, whoever says so.

        Raises:
            AileronError: ``backend-disabled``.
        """
        off = {fact.name for fact in self.plugins if not fact.enabled} | set(disabled)
        givers = [
            plugin
            for plugin, given in self._ask("aileron_backends", _many(records.BackendFactory))
            if any(backend.name == name for backend in given)
        ]
        # A plugin that was off from the start is not asked; it is known by the backend's own name.
        for plugin in givers or [name]:
            if plugin in off:
                raise BACKEND_DISABLED(
                    f"the backend {name!r} cannot be used",
                    why=f"the plugin {plugin!r} is switched off",
                    hints=[f"aileron plugins enable {plugin}", "aileron launch --sandbox BACKEND"],
                )

    def implemented(self, name: str) -> list[str]:
        """The hooks that a plugin implements."""
        plugin = self._manager.get_plugin(name)
        callers = (self._manager.get_hookcallers(plugin) or []) if plugin is not None else []
        return sorted(caller.name for caller in callers)

    def modes_of(self, name: str) -> list[str]:
        """The modes that a plugin adds."""
        pairs = self._ask("aileron_modes", _many(records.Mode))
        return sorted(mode.name for plugin, modes in pairs if plugin == name for mode in modes)

    # --- start-up -----------------------------------------------------------------------------

    def modes(self) -> list[Mode]:
        """Subcommands, by name."""
        return self._named("aileron_modes", records.Mode, "mode")

    def backends(self) -> list[BackendFactory]:
        """Container backends, by name."""
        return self._named("aileron_backends", records.BackendFactory, "backend")

    def settings(self) -> dict[str, type[Any]]:
        """Configuration tables: the plugin's name to its attrs class."""
        return dict(sorted(self._ask("aileron_settings", _attrs_class)))

    def checks(self) -> list[Check]:
        """What doctor tries, by name."""
        return self._named("aileron_checks", records.Check, "check")

    # --- daemon -------------------------------------------------------------------------------

    def routes(self) -> list[Route]:
        """Parts of the API, by name."""
        return self._named("aileron_routes", records.Route, "route")

    def secret_sources(self) -> list[SecretSource]:
        """Places for secrets, by scheme."""
        return self._named(
            "aileron_secret_sources", records.SecretSource, "secret source", key=_scheme
        )

    def approval_channels(self) -> list[ApprovalChannel]:
        """Places where approvals are announced, by name."""
        return self._named("aileron_approval_channels", records.ApprovalChannel, "approval channel")

    # --- session ------------------------------------------------------------------------------

    def contributions(self, session: Session) -> Pairs[Contribution]:
        """What each plugin adds to the session, by the plugin's name.

        Raises:
            AileronError: ``plugin-failed``; ``plugin-conflict`` when two give one mount target,
                variable, helper path or listener name.
        """
        pairs = self._ask("aileron_contributions", _one(records.Contribution), session=session)
        pairs.sort(key=_first)
        for what, keys in _CONTRIBUTED.items():
            _refuse_clash(what, [(plugin, key) for plugin, given in pairs for key in keys(given)])
        return pairs

    def services(self, session: Session) -> list[Service]:
        """Services of the session, each after those it names, else by name."""
        return _in_order(
            self._named("aileron_services", records.Service, "service", session=session)
        )

    def deciders(self, session: Session) -> list[NamedDecider]:
        """Who has a say in the session's decisions, by name."""
        return self._named("aileron_deciders", records.NamedDecider, "decider", session=session)

    def observers(self, session: Session) -> Pairs[Observer]:
        """Who watches the session, by the plugin's name. A plugin that fails here is left out."""
        pairs = self._ask("aileron_observers", _many(object), session=session, survive=True)
        flat = [(plugin, item) for plugin, items in pairs for item in items if callable(item)]
        return sorted(flat, key=_first)

    # --- trouble ------------------------------------------------------------------------------

    def error_hints(self, error: AileronError) -> list[str]:
        """More to do about ``error``; a plugin that fails while helping is ignored."""
        pairs = self._ask("aileron_error_hints", _many(records.Hint), error=error, survive=True)
        return [
            hint.text
            for _, hints in sorted(pairs, key=_first)
            for hint in hints
            if hint.code == error.code
        ]

    # --- how ----------------------------------------------------------------------------------

    def _named(
        self,
        hook: str,
        kind: type[T],
        what: str,
        *,
        key: Callable[[Any], str] = lambda item: str(item.name),
        **arguments: Any,
    ) -> list[T]:
        pairs = self._ask(hook, _many(kind), **arguments)
        flat = [(plugin, item) for plugin, items in pairs for item in items]
        _refuse_clash(what, [(plugin, key(item)) for plugin, item in flat])
        return sorted((item for _, item in flat), key=key)

    def _ask(
        self,
        hook: str,
        check: Callable[[Any], T],
        *,
        survive: bool | None = None,
        **arguments: Any,
    ) -> Pairs[T]:
        """Ask each plugin; None means nothing. Session hooks do not survive a failure."""
        session = arguments.get("session")
        pairs: Pairs[T] = []
        for impl in self._implementations(hook, session):
            try:
                given = impl.function(*(arguments[name] for name in impl.argnames))
                if given is not None:
                    pairs.append((impl.plugin_name, check(given)))
            except Exception as error:  # a plugin may fail in any way; it is named
                if survive is False or (survive is None and session is not None):
                    raise _failed(impl.plugin_name, hook, error) from error
                if not survive:
                    self._set_aside(impl.plugin_name, hook, error)
        return pairs

    def _implementations(self, hook: str, session: Session | None) -> Iterator[pluggy.HookImpl]:
        for impl in getattr(self._manager.hook, hook).get_hookimpls():
            fact = self._facts.get(impl.plugin_name)
            if fact is not None and fact.broken and session is None:
                continue
            if session is None or impl.plugin_name not in session.disabled:
                yield impl

    def _set_aside(self, plugin: str, hook: str, error: Exception) -> None:
        fact = self._facts[plugin]
        self._facts[plugin] = evolve(fact, broken=f"{hook} failed: {_describe(error)}")


def _failed(plugin: str, hook: str, error: Exception) -> AileronError:
    if isinstance(error, AileronError):
        return error
    return PLUGIN_FAILED(
        f"the plugin {plugin!r} failed in {hook}", why=_describe(error), hints=[leave_out(plugin)]
    )


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _first(pair: tuple[str, Any]) -> str:
    return pair[0]


def _scheme(source: SecretSource) -> str:
    return source.scheme


def _one(kind: type[T]) -> Callable[[Any], T]:
    """A check that a hook gave one ``kind``."""

    def check(given: Any) -> T:
        if not isinstance(given, kind):
            raise TypeError(f"it returned {type(given).__name__}, not {kind.__name__}")
        return given

    return check


def _many(kind: type[T]) -> Callable[[Any], list[T]]:
    """A check that a hook gave any number of ``kind``; takes generators too."""

    def check(given: Any) -> list[T]:
        if inspect.iscoroutine(given):
            given.close()
            raise TypeError("it returned a coroutine: return records instead")
        if isinstance(given, kind) and kind is not object:
            raise TypeError(f"it returned one {kind.__name__}: return a list of them")
        return [_one(kind)(item) for item in given]

    return check


def _attrs_class(given: Any) -> type[Any]:
    if not (isinstance(given, type) and hasattr(given, "__attrs_attrs__")):
        raise TypeError("it did not return an attrs class")
    return given


_CONTRIBUTED: Mapping[str, Callable[[Contribution], Iterable[str]]] = {
    "mount target": lambda c: (mount.target for mount in c.mounts),
    "variable": lambda c: c.environment,
    "helper": lambda c: (helper.path for helper in c.helpers),
    "listener": lambda c: (listener.name for listener in c.listeners),
}


def _refuse_clash(what: str, named: Sequence[tuple[str, str]]) -> None:
    seen: dict[str, str] = {}
    for plugin, name in sorted(named):
        if name in seen:
            other = seen[name]
            raise PLUGIN_CONFLICT(
                f"two plugins give the {what} {name!r}",
                why=f"one is {other!r}, the other {plugin!r}",
                hints=[leave_out(plugin)],
            )
        seen[name] = plugin


def _in_order(services: Sequence[Service]) -> list[Service]:
    """Services so that each comes after those in its ``after``; names that are absent do not count.

    Raises:
        AileronError: ``plugin-conflict`` when they wait for each other in a circle.
    """
    waiting = {service.name: service for service in services}
    ordered: list[Service] = []
    while waiting:
        ready = [s for s in waiting.values() if not waiting.keys() & set(s.after)]
        if not ready:
            raise PLUGIN_CONFLICT(
                f"the services {', '.join(waiting)} wait for each other",
                why="each is to start after another of them",
            )
        ordered.append(ready[0])
        del waiting[ready[0].name]
    return ordered
