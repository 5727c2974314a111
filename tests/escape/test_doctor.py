"""``aileron doctor`` on this machine: what it says is what the other tests of this folder find."""

from __future__ import annotations

import json

import pytest
from real_aileron import explain

pytestmark = pytest.mark.container

LIMITS = {"memory-limit", "process-limit"}
"""Where the kernel ignores them (cgroups v1, rootless) they do not hold, and doctor says so."""


def test_every_protection_holds_on_the_host_tier(aileron):
    """All checks are tried for real, and hold; limits that the kernel lacks are said not to."""
    done = aileron("--json", "doctor")
    found = {f["id"]: f for f in json.loads(done.stdout)}
    failing = {name for name, f in found.items() if f["state"] != "holds"}
    assert failing <= LIMITS, explain(done)
    assert done.returncode == (1 if failing else 0), explain(done)
    assert len(found) >= 15


def test_doctor_names_what_it_cannot_try(aileron, tiny_image):
    """An image without python3: those checks are "cannot be tried" with a mend, never "holds"."""
    done = aileron("--json", "doctor", "--image", tiny_image, "vsock", "privileges")
    states = {f["id"]: f["state"] for f in json.loads(done.stdout)}
    assert states == {"vsock": "cannot be tried", "privileges": "holds"}, explain(done)
    assert done.returncode == 1
