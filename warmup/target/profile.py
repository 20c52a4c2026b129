"""What a GPU says of itself, as data: `profiles/<name>.json`, each figure with its source.

A wrong attribute silently selects another kernel, so a profile lists every device attribute that
the driver API has (CUDA Driver API 13.0, CUdevice_attribute) and is compared on a real GPU
(`doctor --profile NAME`).
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import msgspec

from warmup.words.errors import UsageError

_FOLDER = Path(__file__).parent / "profiles"
_ATTRIBUTES = Path(__file__).parent / "native" / "symbols" / "attributes.txt"
_TARGET = re.compile(r"(?P<name>[a-z][a-z0-9-]*?)(?:x(?P<count>[0-9]{1,4}))?")
MAX_GPUS = 64
SCHEMA = 1


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of GPU. memory_bytes: as cudaMemGetInfo's total; nvml_memory_bytes: as NVML's.

    cuda_driver: as cuDriverGetVersion. driver: the driver's own version, of the machine that is
    expected, since only that machine can know. clocks_mhz: the highest of graphics, SM, memory and
    video. attributes: by the driver API's name. sources: where the figures are from.
    """

    schema: int
    name: str
    memory_bytes: int
    nvml_memory_bytes: int
    cuda_driver: int
    driver: str
    clocks_mhz: tuple[int, int, int, int]
    power_limit_mw: int
    attributes: dict[str, int]
    sources: dict[str, str]

    @property
    def compute_capability(self) -> str:
        """`9.0`"""
        major = self.attributes["COMPUTE_CAPABILITY_MAJOR"]
        return f"{major}.{self.attributes['COMPUTE_CAPABILITY_MINOR']}"

    @property
    def num_sms(self) -> int:
        return self.attributes["MULTIPROCESSOR_COUNT"]


class Target(msgspec.Struct, frozen=True):
    """`h200x8`: `count` GPUs of one profile. kind: the profile's file name."""

    kind: str
    count: int
    profile: Profile

    def __str__(self) -> str:
        return f"{self.kind}x{self.count}"


def list_profiles() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.json")))


def read_profile(kind: str) -> Profile:
    """Raises UsageError for a kind that there is no profile of."""
    known = list_profiles()
    if kind not in known:
        close = difflib.get_close_matches(kind, known, n=1)
        raise UsageError(
            f"there is no profile of a GPU {kind!r}",
            hint=f"did you mean {close[0]}?" if close else f"profiles are {', '.join(known)}",
        )
    return msgspec.json.decode((_FOLDER / f"{kind}.json").read_bytes(), type=Profile)


def parse_target(text: str) -> Target:
    """`h200`, `h200x8`. Raises UsageError: another form, an unknown GPU, a count not in 1..64."""
    match = _TARGET.fullmatch(text.strip().lower())
    if match is None:
        raise UsageError(
            f"not a target: {text[:100]!r}", hint="write GPU or GPUxN, for example h200x8"
        )
    count = int(match["count"] or 1)
    profile = read_profile(match["name"])
    if not 1 <= count <= MAX_GPUS:
        raise UsageError(
            f"a target of {count} GPUs cannot be", cause=f"expected a number from 1 to {MAX_GPUS}"
        )
    return Target(match["name"], count, profile)


def read_attribute_numbers() -> dict[str, int]:
    """Name → number of every CUdevice_attribute."""
    rows = (line.split() for line in _ATTRIBUTES.read_text().splitlines())
    return {name: int(number) for number, name in rows}


def encode_profile(target: Target) -> str:
    """The lines that the null device reads (`native/core.c`)."""
    profile, numbers = target.profile, read_attribute_numbers()
    lines = [
        f"devices {target.count}",
        f"name {profile.name}",
        f"memory {profile.memory_bytes}",
        f"nvml_memory {profile.nvml_memory_bytes}",
        f"driver {profile.cuda_driver}",
        f"driver_text {profile.driver}",
        f"power_limit_mw {profile.power_limit_mw}",
        *(f"clock {index} {mhz}" for index, mhz in enumerate(profile.clocks_mhz)),
        *(f"attribute {numbers[name]} {value}" for name, value in profile.attributes.items()),
    ]
    return "\n".join(lines) + "\n"
