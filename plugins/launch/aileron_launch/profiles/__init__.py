"""Agent profiles: what is known about an agent, as data (one TOML file each).

The built-in ones are in this package; a person adds own ones as
``$XDG_CONFIG_HOME/aileron/profiles/NAME.toml``, which replace built-in ones of the same name. A
repository cannot add any. Any command without a profile works as well.
"""

from aileron_launch.profiles.model import (
    PROFILE_INVALID,
    CredentialBinding,
    Profile,
    parse_profile,
)
from aileron_launch.profiles.store import find_profile, load_profiles

__all__ = [
    "PROFILE_INVALID",
    "CredentialBinding",
    "Profile",
    "find_profile",
    "load_profiles",
    "parse_profile",
]
