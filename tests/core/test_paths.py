"""Private directories: made, mended or refused, always with words."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from aileron_core.errors import AileronError
from aileron_core.paths import make_private


def test_it_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """Mode 0700, with what lies above it; one that is too open is mended."""
    wanted = tmp_path / "a" / "b"
    assert stat.S_IMODE(make_private(wanted).stat().st_mode) == 0o700
    wanted.chmod(0o755)
    assert stat.S_IMODE(make_private(wanted).stat().st_mode) == 0o700


def test_a_link_is_refused(tmp_path: Path) -> None:
    """It could lead anywhere, and be turned elsewhere."""
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(AileronError) as caught:
        make_private(link)
    assert (caught.value.code, caught.value.exit_status) == ("directory-unsafe", 78)


@pytest.mark.parametrize("below", ["", "aileron"])
def test_one_that_cannot_be_made(tmp_path: Path, below: str) -> None:
    """A file in its place or above it: exit status 73, and which variables lead there."""
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(AileronError) as caught:
        make_private(file / below)
    assert (caught.value.code, caught.value.exit_status) == ("directory-unusable", 73)
    assert "XDG_RUNTIME_DIR" in caught.value.hints[0]
