"""`aileron config` and `aileron plugins`, as a person meets them."""

from __future__ import annotations

import pytest

from aileron_core.errors import EXIT_CONFIG, EXIT_NO_INPUT, EXIT_USAGE
from aileron_core.testing import Runner


def test_show_says_where_every_value_comes_from(aileron: Runner) -> None:
    """File and line, a variable, or built in; as a table and as JSON."""
    file = aileron.write_config('[plugins]\ndisable = ["connectors"]\n')
    row = {"id": "plugins.disable", "value": ["connectors"], "state": "set"}
    assert aileron("config", "show", "plugins.disable", "--json").json == [
        {**row, "origin": f"{file}:2"}
    ]
    shown = aileron("config", "show", "plugins")
    assert "connectors" in shown.stdout
    assert f"{file}:2" in shown.stdout
    by_variable = aileron(
        "config", "show", "plugins", "--json", environ={"AILERON_PLUGINS_DISABLE": "proxy"}
    )
    assert by_variable.json[0]["origin"] == "AILERON_PLUGINS_DISABLE"


def test_show_changed_leaves_out_what_is_built_in(aileron: Runner) -> None:
    """Nothing is set, nothing is shown."""
    assert aileron("config", "show", "--changed", "--json").json == []


def test_show_of_something_that_is_not_there(aileron: Runner) -> None:
    """The nearest name is told."""
    result = aileron("config", "show", "plugin", "--json")
    assert result.status == EXIT_NO_INPUT
    assert result.error["hints"] == ["did you mean 'plugins'?"]


def test_check_says_everything_that_is_wrong(aileron: Runner) -> None:
    """Not only the first thing."""
    aileron.write_config("[plugins]\ndisabel = []\n[lunch]\n")
    result = aileron("config", "check")
    assert result.status == EXIT_CONFIG
    assert result.stderr.count("[config-unknown]") == 2
    checked = aileron("config", "check", "--json")
    assert checked.status == EXIT_CONFIG
    assert [one["code"] for one in checked.json["errors"]] == ["config-unknown"] * 2


@pytest.mark.parametrize(
    ("text", "code"),
    [("[[[", "config-syntax"), ('[plugins]\ndisable = ["nothing"]\n', "plugin-unknown")],
)
def test_check_works_when_nothing_else_does(aileron: Runner, text: str, code: str) -> None:
    """A file that cannot be read, or names a plugin that is not there."""
    aileron.write_config(text)
    result = aileron("config", "check", "--json")
    assert result.status == EXIT_CONFIG
    assert [one["code"] for one in result.json["errors"]] == [code]


def test_check_is_content_with_nothing(aileron: Runner) -> None:
    """No file is needed."""
    result = aileron("config", "check")
    assert (result.status, result.stdout) == (0, "the configuration is fine\n")


def test_path_names_every_file_that_is_looked_for(aileron: Runner) -> None:
    """Absent ones too; the project's with what it may do."""
    (aileron.root / ".aileron.toml").write_text("")
    rows = aileron("config", "path", "--json").json
    assert [(row["kind"], row["state"]) for row in rows[1:]] == [
        ("user", "absent"),
        ("project", "read, may only tighten"),
    ]


def test_trust_lets_a_project_loosen_until_it_is_revoked(aileron: Runner) -> None:
    """As it is now, and no longer than that."""
    (aileron.root / ".aileron.toml").write_text('[plugins]\ndisable = ["connectors"]\n')
    refused = aileron("config", "show", "--json")
    assert refused.error["code"] == "config-untrusted"
    assert aileron("config", "trust").status == 0
    assert aileron("config", "show", "plugins", "--json").json[0]["value"] == ["connectors"]
    assert "no longer trusted" in aileron("config", "trust", "--revoke").stdout
    assert aileron("config", "show").status == EXIT_CONFIG


def test_trust_covers_the_devcontainer_too(aileron: Runner) -> None:
    """What it builds and runs is the project's word as well."""
    directory = aileron.root / "p"
    (directory / ".devcontainer").mkdir(parents=True)
    (directory / ".devcontainer/devcontainer.json").write_text("{}")
    result = aileron("config", "trust", "p", "--json")
    assert [row["id"] for row in result.json] == [str(directory / ".devcontainer")]


def test_nothing_to_trust_is_an_error(aileron: Runner) -> None:
    """Not a silent success."""
    assert aileron("config", "trust").status == EXIT_NO_INPUT


def test_a_plugin_is_switched_off_and_on(aileron: Runner) -> None:
    """In the user's file, and told by the list with file and line."""
    assert "connectors is off" in aileron("plugins", "disable", "connectors").stderr
    rows = {row["name"]: row for row in aileron("plugins", "list", "--json").json}
    assert rows["connectors"]["state"] == "off"
    assert rows["connectors"]["why"] == f"disabled in {aileron.paths.user_config}:2"
    assert "already" in aileron("plugins", "disable", "connectors").stderr
    assert aileron("plugins", "enable", "connectors", "--json").json["disabled"] == []


def test_a_plugin_that_adds_nothing_says_so(aileron: Runner) -> None:
    """Nobody is to believe that something enforces because it is on."""
    rows = {row["name"]: row for row in aileron("plugins", "list", "--json").json}
    assert rows["proxy"]["why"] == "on by default; adds nothing yet"
    assert rows["launch"]["why"] == "on by default"


def test_a_name_that_is_not_installed_can_be_taken_off_the_list(aileron: Runner) -> None:
    """After an uninstall nothing else works until it is gone."""
    aileron.write_config('[plugins]\ndisable = ["uninstalled"]\n')
    assert aileron("plugins", "list").status == EXIT_CONFIG
    assert aileron("plugins", "enable", "uninstalled").status == 0
    assert aileron("plugins", "list").status == 0


@pytest.mark.parametrize("verb", ["enable", "disable", "show"])
def test_an_unknown_plugin_is_an_error_with_the_nearest(aileron: Runner, verb: str) -> None:
    """And nothing is written."""
    result = aileron("plugins", verb, "conectors", "--json")
    assert result.error["hints"] == ["did you mean 'connectors'?"]
    assert not aileron.paths.user_config.exists()


def test_the_core_cannot_be_switched_off(aileron: Runner) -> None:
    """It is what switches things on again."""
    assert aileron("plugins", "disable", "core", "--json").error["code"] == "plugin-essential"


def test_another_layer_that_still_decides_is_named(aileron: Runner) -> None:
    """Enabling in one's own file does not help against a variable."""
    result = aileron("plugins", "enable", "proxy", environ={"AILERON_PLUGINS_DISABLE": "proxy"})
    assert "still by AILERON_PLUGINS_DISABLE" in result.stderr


def test_show_tells_what_a_plugin_adds(aileron: Runner) -> None:
    """Its module, hooks and modes."""
    shown = aileron("plugins", "show", "core", "--json").json
    assert shown["module"] == "aileron_core.builtin"
    assert "aileron_modes" in shown["hooks"]
    assert "config" in shown["modes"]


def test_the_mode_of_a_plugin_that_is_off_says_so(aileron: Runner) -> None:
    """By plugin, file and line, with the mend."""
    file = aileron.write_config('[plugins]\ndisable = ["wait-drain"]\n')
    result = aileron("drain", "--json")
    assert result.status == EXIT_USAGE
    assert result.error["code"] == "mode-disabled"
    assert f"{file}:2" in result.error["message"]
    assert result.error["hints"] == ["aileron plugins enable wait-drain"]
