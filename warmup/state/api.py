"""What is known and kept: home, markers, version vectors, verdicts over them, what gc may drop.

The face of this room: other rooms import it alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmup.words.lazy import load_lazily

if TYPE_CHECKING:
    from warmup.state.audit import Audit, get_facts, make_audit
    from warmup.state.check import (
        NOT_PROVEN,
        ONLY_KERNELS,
        MarkerCheck,
        check_launch,
        find_shortfall,
        read_bound_manifest,
        tell_changes,
    )
    from warmup.state.distributions import find_missing_engine
    from warmup.state.explain import Explanation, TouchedChange, explain, get_state
    from warmup.state.forecast import (
        Comparison,
        compare,
        make_baseline,
        read_baseline,
        write_baseline,
    )
    from warmup.state.gc import GcDocument, collect
    from warmup.state.gpus import GpuFacts, check_driver, read_gpus
    from warmup.state.home import Home, get_home, make_run_id
    from warmup.state.host_check import (
        HostCheck,
        check_caches,
        check_disk,
        check_home,
        check_locks,
        check_open_files,
        check_shm,
    )
    from warmup.state.judge import BAD_STATES, HostView
    from warmup.state.locks import hold_launch_lock
    from warmup.state.manifests import find_stale_entries, write_warmed
    from warmup.state.marker import PACK_PREFIX, Marker, WarmedBy, get_slug, make_marker
    from warmup.state.marker_files import list_markers, write_marker
    from warmup.state.needed import list_needed
    from warmup.state.nvcc import find_release, get_nvcc_text
    from warmup.state.relevant_env import get_relevant
    from warmup.state.repair import repair_before_run
    from warmup.state.values import NONE, make_assumed
    from warmup.state.version_vector import (
        Ingredient,
        VersionVector,
        explain_unread,
        read_vector,
    )

__all__ = [
    "BAD_STATES",
    "NONE",
    "NOT_PROVEN",
    "ONLY_KERNELS",
    "PACK_PREFIX",
    "Audit",
    "Comparison",
    "Explanation",
    "GcDocument",
    "GpuFacts",
    "Home",
    "HostCheck",
    "HostView",
    "Ingredient",
    "Marker",
    "MarkerCheck",
    "TouchedChange",
    "VersionVector",
    "WarmedBy",
    "check_caches",
    "check_disk",
    "check_driver",
    "check_home",
    "check_launch",
    "check_locks",
    "check_open_files",
    "check_shm",
    "collect",
    "compare",
    "explain",
    "explain_unread",
    "find_missing_engine",
    "find_release",
    "find_shortfall",
    "find_stale_entries",
    "get_facts",
    "get_home",
    "get_nvcc_text",
    "get_relevant",
    "get_slug",
    "get_state",
    "hold_launch_lock",
    "list_markers",
    "list_needed",
    "make_assumed",
    "make_audit",
    "make_baseline",
    "make_marker",
    "make_run_id",
    "read_baseline",
    "read_bound_manifest",
    "read_gpus",
    "read_vector",
    "repair_before_run",
    "tell_changes",
    "write_baseline",
    "write_marker",
    "write_warmed",
]

if not TYPE_CHECKING:
    __getattr__ = load_lazily(
        __name__,
        {
            "audit": "Audit get_facts make_audit",
            "check": "NOT_PROVEN ONLY_KERNELS MarkerCheck check_launch find_shortfall"
            " read_bound_manifest tell_changes",
            "distributions": "find_missing_engine",
            "explain": "Explanation TouchedChange explain get_state",
            "forecast": "Comparison compare make_baseline read_baseline write_baseline",
            "gc": "GcDocument collect",
            "gpus": "GpuFacts check_driver read_gpus",
            "home": "Home get_home make_run_id",
            "host_check": "HostCheck check_caches check_disk check_home check_locks"
            " check_open_files check_shm",
            "judge": "BAD_STATES HostView",
            "locks": "hold_launch_lock",
            "manifests": "find_stale_entries write_warmed",
            "marker": "PACK_PREFIX Marker WarmedBy get_slug make_marker",
            "marker_files": "list_markers write_marker",
            "needed": "list_needed",
            "nvcc": "find_release get_nvcc_text",
            "relevant_env": "get_relevant",
            "repair": "repair_before_run",
            "values": "NONE make_assumed",
            "version_vector": "Ingredient VersionVector explain_unread read_vector",
        },
    )
