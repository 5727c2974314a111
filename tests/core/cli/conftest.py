"""Commands in the test's process."""

from __future__ import annotations

from pathlib import Path

import pytest

from aileron_core.testing import Runner


@pytest.fixture
def aileron(tmp_path: Path) -> Runner:
    """Runs `aileron` in directories of its own."""
    return Runner(tmp_path)
