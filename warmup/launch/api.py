"""One launch of one server: what it is, its engine, its arguments, its requests and their judges.

The face of this room: other rooms import it alone.
"""

from __future__ import annotations

from warmup.launch.arguments import get_canonical, is_neutral, parse
from warmup.launch.engine import UNSTARTED, Allocation, Engine, get_server_argv, get_server_env
from warmup.launch.engine_table import get_engine
from warmup.launch.folder import find_folder, find_object, is_hub_id
from warmup.launch.hub_cache import find_snapshot, get_hub_folder
from warmup.launch.hub_download import Wanted, download
from warmup.launch.ladder import LadderStep
from warmup.launch.launch import Ladder, Launch, Method, RequestSpec, UrlPath
from warmup.launch.placeholders import find_unknown
from warmup.launch.record import LaunchRecord

__all__ = [
    "UNSTARTED",
    "Allocation",
    "Engine",
    "Ladder",
    "LadderStep",
    "Launch",
    "LaunchRecord",
    "Method",
    "RequestSpec",
    "UrlPath",
    "Wanted",
    "download",
    "find_folder",
    "find_object",
    "find_snapshot",
    "find_unknown",
    "get_canonical",
    "get_engine",
    "get_hub_folder",
    "get_server_argv",
    "get_server_env",
    "is_hub_id",
    "is_neutral",
    "parse",
]
