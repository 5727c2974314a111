"""Types that a setting can have, and those that it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen

from aileron_core.config import load_config, required, setting
from aileron_core.config.convert import BadValue, Place, convert, fields_of, from_text
from aileron_core.config.setting import setting_of
from aileron_core.config.tables import Schema
from aileron_core.errors import AileronError

PLACE = Place(Path("/base"), "/home/me", lambda key: "here")


@pytest.mark.parametrize(
    ("kind", "given", "made"),
    [
        (Any, [1, {"a": 2}], [1, {"a": 2}]),
        (int | str, 1, 1),
        (int | str, "a", "a"),
        (str | None, None, None),
        (frozenset[str], ["a", "a"], frozenset({"a"})),
        (list[int], [1], [1]),
        (tuple[tuple[int, ...], ...], [[1], []], ((1,), ())),
        (Path, "~", Path("/home/me")),
        (Path, "/abs", Path("/abs")),
    ],
)
def test_a_value_becomes_its_type(kind: Any, given: Any, made: Any) -> None:
    """Unions take the first type that fits."""
    assert convert(kind, given, ("k",), PLACE) == made


@pytest.mark.parametrize("kind", [complex, set[int], bytes])
def test_a_type_that_configuration_cannot_have(kind: Any) -> None:
    """The plugin's author meets this, not the person."""
    with pytest.raises(TypeError, match="cannot have the type"):
        convert(kind, "x", ("k",), PLACE)


def test_a_path_with_a_nul_is_refused() -> None:
    """It would end the name early in the kernel."""
    with pytest.raises(BadValue, match="NUL"):
        convert(Path, "a\0b", ("k",), PLACE)


@pytest.mark.parametrize(
    ("kind", "text", "made"),
    [(int | str, "5", 5), (int | str, "a", "a"), (tuple[int, ...], "1,2", [1, 2])],
)
def test_text_is_read_as_the_first_type_that_fits(kind: Any, text: str, made: Any) -> None:
    """For variables and flags."""
    assert from_text(kind, text, ("k",)) == made


class Unknown:
    """Not there when annotations are resolved."""


def test_annotations_that_cannot_be_resolved_are_the_plugins_fault(tmp_path: Path) -> None:
    """The message names the table and how to leave the plugin out."""

    @frozen
    class Bad:
        key: Missing = setting(None, "x.")  # type: ignore[name-defined] # noqa: F821 - the point

    with pytest.raises(TypeError, match="Missing"):
        fields_of(Bad)


def test_a_table_without_defaults_is_the_plugins_fault(files: Any) -> None:
    """A table may be absent, so every key of it has a default."""

    @frozen
    class Bad:
        key: str = required("A key.")

    with pytest.raises(AileronError) as caught:
        load_config(Schema({"bad": Bad}), paths=files.paths)
    assert caught.value.code == "plugin-broken"
    assert "--disable bad" in caught.value.hints[0]


def test_a_validator_is_heard(files: Any) -> None:
    """Its complaint is an error about the place that the value comes from."""

    def positive(instance: object, attribute: object, value: int) -> None:
        if value < 0:
            raise ValueError("it must not be negative")

    @frozen
    class Table:
        number: int = field(default=1, validator=positive)

    file = files.user("[table]\nnumber = -1\n")
    with pytest.raises(AileronError) as caught:
        load_config(Schema({"table": Table}), paths=files.paths)
    assert caught.value.code == "config-value"
    assert "negative" in caught.value.message
    assert f"{file}:2" in caught.value.message


def test_a_plain_field_may_be_set_by_nobody_but_the_person() -> None:
    """What is not declared is strict."""

    @frozen
    class Table:
        number: int = 1

    assert setting_of(Table.__attrs_attrs__[0]).project == "never"  # type: ignore[attr-defined] # attrs adds it


def test_tightening_needs_a_judge() -> None:
    """A declaration that says one without the other is a mistake."""
    with pytest.raises(TypeError, match="belong together"):
        setting(1, "x.", project="tighten")
    with pytest.raises(TypeError, match="belong together"):
        setting(1, "x.", tighter=lambda old, new: True)
