"""A GPU that is not here: profiles of GPUs, and the null device that claims to be one.

The face of this room: other rooms import it alone.
"""

from __future__ import annotations

from warmup.target.capture import capture, compare_profiles
from warmup.target.environment import check_torch, find_real_driver
from warmup.target.profile import Profile, list_profiles, read_profile
from warmup.target.seeding import Seeding, make_seeding

__all__ = [
    "Profile",
    "Seeding",
    "capture",
    "check_torch",
    "compare_profiles",
    "find_real_driver",
    "list_profiles",
    "make_seeding",
    "read_profile",
]
