"""A GPU that is not here: profiles of GPUs, and the null device that claims to be one.

The face of this room: other rooms import it alone.
"""

from __future__ import annotations

from warmup.target.environment import check_torch, make_environment
from warmup.target.profile import Profile, Target, list_profiles, parse_target, read_profile

__all__ = [
    "Profile",
    "Target",
    "check_torch",
    "list_profiles",
    "make_environment",
    "parse_target",
    "read_profile",
]
