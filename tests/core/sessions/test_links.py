"""Protected files that have other names."""

from __future__ import annotations

import os

import pytest

from aileron_core.errors import AileronError
from aileron_core.sessions.files import remove_tree
from aileron_core.sessions.links import refuse_shared


@pytest.fixture
def workspace(tmp_path):
    """A workspace with a hook."""
    hooks = tmp_path / "work/.githooks"
    hooks.mkdir(parents=True)
    (hooks / "pre-commit").write_text("#!/bin/sh\n")
    return tmp_path / "work"


def test_a_writable_name_of_a_protected_file_is_refused(workspace):
    """The agent would write the hook through it; both names are told."""
    os.link(workspace / ".githooks/pre-commit", workspace / "innocent")
    with pytest.raises(AileronError, match="pre-commit") as caught:
        refuse_shared(workspace, (".githooks/",))
    assert str(workspace / "innocent") in caught.value.why


def test_names_that_are_all_protected_are_fine(workspace):
    """Two protected names of one file hold each other."""
    os.link(workspace / ".githooks/pre-commit", workspace / ".githooks/pre-push")
    refuse_shared(workspace, (".githooks/",))


def test_names_outside_the_workspace_are_fine(workspace, tmp_path):
    """A backup or a package store that links files is out of the agent's reach."""
    os.link(workspace / ".githooks/pre-commit", tmp_path / "backup")
    refuse_shared(workspace, (".githooks/", ".absent/", ".git/config"))


def test_a_deep_workspace_is_searched_without_recursion(workspace):
    """As deep as Git can check out."""
    deep = workspace
    for _ in range(1200):
        deep = deep / "d"
        deep.mkdir()
    os.link(workspace / ".githooks/pre-commit", deep / "x")
    with pytest.raises(AileronError, match="pre-commit"):
        refuse_shared(workspace, (".githooks/",))
    remove_tree(workspace)
