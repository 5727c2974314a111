"""Layers, origins, types, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aileron_core.config.trust import trust
from aileron_core.errors import EXIT_CONFIG, AileronError
from aileron_core.records import Verdict


def refused(files: Any, code: str, **more: Any) -> AileronError:
    """The error that loading ends with."""
    with pytest.raises(AileronError) as caught:
        files.load(**more)
    assert caught.value.code == code
    assert caught.value.exit_status == EXIT_CONFIG
    return caught.value


# --- layers -------------------------------------------------------------------------------------


def test_each_layer_is_over_the_one_before(files: Any) -> None:
    """Built in < system < user < project < --config < environment < flags; each has its origin."""
    key, line = "every-thing.number", "[every-thing]\nnumber = {}\n"
    environ = {"AILERON_EVERY_THING_NUMBER": "96"}
    steps: list[tuple[int, str, dict[str, Any]]] = [(3, "built in", {})]
    steps.append((99, f"{files.system(line.format(99))}:2", {}))
    assert files.load().origin(key) == steps[-1][1]
    steps.append((98, f"{files.user(line.format(98))}:2", {}))
    assert files.load().origin(key) == steps[-1][1]
    steps.append((97, f"{files.of_project(line.format(97))}:2", {}))
    assert files.load().origin(key) == steps[-1][1]
    extra = files.extra(line.format(105))
    steps.append((105, f"{extra}:2", {"config_file": extra}))
    steps.append((96, "AILERON_EVERY_THING_NUMBER", {"config_file": extra, "environ": environ}))
    last = {"config_file": extra, "environ": environ, "flags": {key: 95}}
    steps.append((95, "a flag", last))
    for value, origin, more in steps[3:]:
        config = files.load(**more)
        assert (files.everything(**more).number, config.origin(key)) == (value, origin)


def test_nothing_said_is_what_is_built_in(files: Any) -> None:
    """No file is needed."""
    config = files.load()
    assert files.everything().text == "built"
    assert {origin for _, _, origin in config.items()} == {"built in"}


def test_a_list_replaces_unless_it_is_declared_to_add(files: Any) -> None:
    """What a higher layer adds comes first, and the origin names both."""
    files.system('[every-thing]\nnames = ["a"]\nadded = ["a"]\n')
    user = files.user('[every-thing]\nnames = ["b"]\nadded = ["b"]\n')
    config = files.load()
    assert files.everything().names == ("b",)
    assert files.everything().added == ("b", "a", "base")
    assert config.origin("every-thing.added") == f"{user}:3, {files.paths.system_config}:3"


def test_a_table_of_names_replaces_unless_it_is_declared_to_add(files: Any) -> None:
    """By name, the higher layer's value wins."""
    text = '[every-thing.env]\n{0} = "1"\n[every-thing.more]\n{0} = "1"\nsame = "{0}"\n'
    files.system(text.format("a"))
    files.user(text.format("b"))
    assert files.everything().env == {"b": "1"}
    assert files.everything().more == {"a": "1", "b": "1", "same": "b"}


def test_nested_tables_merge_key_by_key(files: Any) -> None:
    """They know where they come from; nobody can set that."""
    file = files.user("[every-thing.inner]\ndepth = 2\n")
    assert files.everything().inner.depth == 2
    assert files.everything().inner.origin == f"{file}:2"
    files.user("[every-thing.inner]\norigin = 'here'\n")
    assert "inner.origin" in refused(files, "config-unknown").message


def test_items_of_a_list_of_tables_know_their_line(files: Any) -> None:
    """A rule is recorded with the place where it is written."""
    file = files.user(
        "\n[[every-thing.rules]]\nhost = 'a'\n\n[[every-thing.rules]]\nhost = 'b'\nverdict='deny'\n"
    )
    one, two = files.everything().rules
    assert (one.host, one.origin) == ("a", f"{file}:2")
    assert (two.verdict, two.origin) == (Verdict.DENY, f"{file}:5")


def test_tables_by_name_are_records(files: Any) -> None:
    """``[every-thing.places.NAME]``."""
    files.user("[every-thing.places.here]\ndepth = 4\n")
    assert files.everything().places["here"].depth == 4


def test_paths_start_where_they_are_written(files: Any) -> None:
    """In a file: its directory. In a variable or flag: the project. ``~``: the home."""
    files.user('[every-thing]\nfile = "ca.pem"\n')
    assert files.everything().file == files.paths.user_config.parent / "ca.pem"
    flags = {"every-thing.file": "ca.pem"}
    assert files.everything(flags=flags).file == files.project / "ca.pem"
    home = {"every-thing.file": "~/ca.pem"}
    assert files.everything(flags=home, environ={"HOME": "/h"}).file == Path("/h/ca.pem")


def test_a_plugin_that_is_off_may_keep_its_table(files: Any) -> None:
    """Nobody can judge it, and switching a plugin off must not break the configuration."""
    files.user("[gone]\nwhatever = 3\n")
    files.load(environ={"AILERON_GONE_WHATEVER": "1"})


# --- variables and flags ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("TEXT", "a,b", "text", "a,b"),
        ("NUMBER", "-4", "number", -4),
        ("RATIO", "2", "ratio", 2.0),
        ("FLAG", "yes", "flag", True),
        ("FLAG", "0", "flag", False),
        ("LIMIT", "", "limit", None),
        ("LIMIT", "8", "limit", 8),
        ("CHOICE", "ro", "choice", "ro"),
        ("NAMES", "a, b,", "names", ("a", "b")),
    ],
)
def test_a_variable_is_read_as_its_type(
    files: Any, variable: str, text: str, key: str, value: Any
) -> None:
    """Lists are separated by commas; spaces around do not count."""
    table = files.everything(environ={f"AILERON_EVERY_THING_{variable}": text})
    assert getattr(table, key) == value


def test_nested_keys_have_variables_too(files: Any) -> None:
    """Table, table and key, joined by underscores."""
    assert files.everything(environ={"AILERON_EVERY_THING_INNER_DEPTH": "7"}).inner.depth == 7


def test_an_unknown_variable_is_an_error_with_the_nearest(files: Any) -> None:
    """A mistyped variable must not be ignored."""
    error = refused(files, "config-unknown", environ={"AILERON_EVERY_THING_NUMER": "1"})
    assert "AILERON_EVERY_THING_NUMER" in error.message
    assert error.hints == ("did you mean 'AILERON_EVERY_THING_NUMBER'?",)


def test_what_a_sandbox_sets_is_no_setting(files: Any) -> None:
    """`aileron` inside a sandbox meets these variables."""
    files.load(environ={"AILERON_TOKEN": "t", "AILERON_SANDBOX_IMAGE": "i", "OTHER": "x"})


@pytest.mark.parametrize(
    ("variable", "text"),
    [("NUMBER", "many"), ("FLAG", "perhaps"), ("CHOICE", "rww"), ("ENV", "a=b"), ("RATIO", "")],
)
def test_a_variable_that_does_not_fit_is_an_error(files: Any, variable: str, text: str) -> None:
    """It names the variable and never shows a number's text, which may be a secret."""
    error = refused(files, "config-value", environ={f"AILERON_EVERY_THING_{variable}": text})
    assert variable in error.message.upper()


def test_flags_may_be_typed_or_text(files: Any) -> None:
    """None is a flag that was not given."""
    flags = {"every-thing.number": 5, "every-thing.names": ["a"], "every-thing.text": None}
    assert files.everything(flags=flags).number == 5
    assert files.everything(flags={"every-thing.number": "6"}).number == 6
    assert files.everything(flags=flags).text == "built"


@pytest.mark.parametrize(
    ("flags", "code"),
    [({"every-thing.numbr": 1}, "config-unknown"), ({"every-thing.number": 1.5}, "config-value")],
)
def test_a_flag_that_does_not_fit_is_an_error(files: Any, flags: Any, code: str) -> None:
    """An unknown name and a wrong type."""
    assert "every-thing.numb" in refused(files, code, flags=flags).message


# --- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("[every-thing]\n\nnumbr = 3\n", 3, "'number'"),
        ("[evrything]\nnumber = 3\n", 1, "'every-thing'"),
        ("x = 1\n[every-thing.inner]\ndept = 3\n", 1, "every-thing"),
        ("[every-thing.inner]\ndept = 3\n", 2, "'depth'"),
        ("[[every-thing.rules]]\nhost='a'\n[[every-thing.rules]]\nhst='b'\n", 4, "'host'"),
    ],
)
def test_an_unknown_name_is_an_error_with_file_line_and_nearest(
    files: Any, text: str, line: int, hint: str
) -> None:
    """Whether it is a table, a key or a key of a nested table."""
    file = files.user(text)
    error = refused(files, "config-unknown")
    assert f"{file}:{line}" in error.message
    assert hint in error.hints[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("text = 3\n", "a whole number, not text"),
        ('number = "3"\n', "text, not a whole number"),
        ("number = true\n", "true or false, not a whole number"),
        ("number = 1.5\n", "a number, not a whole number"),
        ('ratio = "x"\n', "text, not a number"),
        ("flag = 1\n", "a whole number, not true or false"),
        ('choice = "rww"\n', "not one of rw, ro, overlay"),
        ("choice = 1\n", "not one of rw, ro, overlay"),
        ('names = "a"\n', "text, not a list"),
        ("names = [1]\n", "every-thing.names.0"),
        ("env = []\n", "a list, not a table"),
        ("env = {a = 1}\n", "every-thing.env.a"),
        ("inner = 3\n", "a whole number, not a table"),
        ("rules = [{}]\n", "the key 'host' is missing"),
        ("rules = [1]\n", "not a table"),
        ("limit = 'x'\n", "text, not a whole number"),
        ("text = 2020-01-01\n", "a date, not text"),
    ],
)
def test_a_value_of_the_wrong_type_is_an_error_with_file_and_line(
    files: Any, text: str, said: str
) -> None:
    """The message says what it is and what it should be, not the value."""
    file = files.user("[every-thing]\n" + text)
    error = refused(files, "config-value")
    assert said in error.message
    assert f"{file}:2" in error.message


def test_a_table_that_is_no_table(files: Any) -> None:
    """A key where a table should be."""
    files.user("every-thing = 3\n")
    assert "not a table" in refused(files, "config-value").message


def test_everything_that_is_wrong_is_counted(files: Any) -> None:
    """The first is shown; `config check` shows the rest."""
    files.user("[every-thing]\na = 1\nb = 2\nnumber = 'x'\n")
    assert "and 2 more: aileron config check" in refused(files, "config-unknown").hints


def test_a_config_file_that_is_not_there_is_an_error(files: Any) -> None:
    """The others may be absent, that one was named."""
    error = refused(files, "config-unreadable", config_file=files.root / "none.toml")
    assert "none.toml" in error.message


# --- the project's own file ---------------------------------------------------------------------


def test_a_project_may_tighten(files: Any) -> None:
    """Fewer, and what protects nothing."""
    files.of_project("[every-thing]\nnumber = 2\nflag = true\nadded = ['x']\ninner.depth = 0\n")
    table = files.everything()
    assert (table.number, table.flag, table.added) == (2, True, ("x", "base"))


def test_a_project_may_not_loosen_and_every_key_is_named(files: Any) -> None:
    """With the line of each, and how to trust the file."""
    file = files.of_project('[every-thing]\nnumber = 4\nflag = true\ntext = "x"\n')
    error = refused(files, "config-untrusted")
    assert "every-thing.number (line 2), every-thing.text (line 4)" in error.message
    assert f"aileron config trust {file.parent}" in error.hints[0]


def test_a_project_may_say_what_holds_anyway(files: Any) -> None:
    """Repeating a value loosens nothing."""
    files.user('[every-thing]\ntext = "x"\n')
    files.of_project('[every-thing]\ntext = "x"\n')
    assert files.everything().text == "x"


def test_a_project_cannot_switch_plugins_off(files: Any) -> None:
    """An enforcing plugin would be gone."""
    files.of_project('[plugins]\ndisable = ["proxy"]\n')
    assert "plugins.disable" in refused(files, "config-untrusted").message


def test_trust_lasts_until_the_file_changes(files: Any) -> None:
    """The content's hash is pinned, as direnv does."""
    file = files.of_project('[every-thing]\ntext = "x"\n')
    trust(files.paths, file)
    assert files.everything().text == "x"
    files.of_project('[every-thing]\ntext = "y"\n')
    refused(files, "config-untrusted")
    files.of_project('[every-thing]\ntext = "x"\n')
    assert files.everything().text == "x"


def test_the_users_file_is_over_what_a_project_tightens_only_by_flag(files: Any) -> None:
    """The project is above the user's file; --config, variables and flags are the person's own."""
    files.user("[every-thing]\nnumber = 3\n")
    files.of_project("[every-thing]\nnumber = 1\n")
    assert files.everything().number == 1
    assert files.everything(flags={"every-thing.number": 9}).number == 9


def test_a_judge_that_fails_has_not_said_yes(files: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is broken denies."""
    files.of_project("[every-thing]\nnumber = 1\n")
    field = type(files.everything())  # resolves the class's keys
    from aileron_core.config.convert import fields_of

    info = fields_of(field)["number"].setting
    object.__setattr__(info, "tighter", lambda old, new: 1 / 0)
    try:
        refused(files, "config-untrusted")
    finally:
        object.__setattr__(info, "tighter", lambda old, new: new <= old)
