"""Markers are derived on the spot, from this host's vector and from what lies on this disk.

A pack brings no marker: it says of which launch under which vector its entries are. Where both are
ours and every file has its sha256, this home writes a marker of its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from warmup.caches.api import (
    EntryRecord,
    FileRecord,
    Manifest,
    RootRecord,
    encode,
    find_mismatch,
    get_bound_mtime,
    get_family,
    hash_file,
    summaries,
)
from warmup.launch.api import Launch
from warmup.packs.contents import PackEntry, PackFile, PackLaunch
from warmup.packs.place import Placement, check_group, is_group
from warmup.packs.pull_document import LaunchState, PulledLaunch
from warmup.state.api import (
    ONLY_KERNELS,
    PACK_PREFIX,
    HostView,
    VersionVector,
    explain_unread,
    make_marker,
    tell_changes,
    write_warmed,
)
from warmup.words.errors import IntegrityError
from warmup.words.escape import from_text, to_text
from warmup.words.tree import Tree


@dataclass(frozen=True, kw_only=True)
class Deriver:
    """digest: of the pack. can_prove: whether its signer's proof counts here. is_foreign: whether
    it is an image that names no launches."""

    view: HostView
    digest: str
    placements: Mapping[str, Placement]
    can_prove: bool
    is_foreign: bool

    def derive(self, launch: Launch, packed: PackLaunch | None) -> PulledLaunch:
        """Raises OSError, HostError where the marker cannot be written."""
        if packed is None and self.is_foreign:
            return self._make(launch, "seed", "the image names no launch: one boot will tell")
        if packed is None:
            return self._make(launch, "absent", "the pack was not made for this launch")
        vector = self.view.get_vector(launch)
        changes = packed.vector.diff(vector)
        reason = self._find_doubt(launch, packed, vector)
        if reason is not None:
            return self._make(launch, "seed", reason)
        try:
            manifest = self._make_manifest(launch, packed)
        except IntegrityError as error:
            return self._make(launch, "seed", error.reason)
        mismatch = find_mismatch(manifest, self.view.get_env(launch))
        if mismatch is not None:
            return self._make(launch, "seed", mismatch)
        data = encode(manifest)
        marker = make_marker(
            launch,
            packed.vector,  # where it is not ours: `why` names what is off, and one boot will tell
            argv=(),
            engine_version=packed.engine_version,
            families=summaries(manifest),
            manifest=data,
            phases={},
            seconds=packed.seconds,
            proven=packed.proven and self.can_prove,
            warmed_by=f"{PACK_PREFIX}{self.digest}",
            target=f"{changes[0].name} {changes[0].old}" if changes else "",
            ladder=packed.ladder,
            skipped_steps=tuple(packed.skipped_steps),
        )
        path = write_warmed(self.view.home, marker, data)
        if changes:
            return self._make(launch, "seed", tell_changes(changes), str(path))
        return self._make(launch, "warm", "same vector, every sha256 right", str(path))

    def _find_doubt(self, launch: Launch, packed: PackLaunch, vector: VersionVector) -> str | None:
        """Why the pack's warm-up is not proof for this host; None where it is."""
        changes = packed.vector.diff(vector)
        if len(changes) > 1:
            return tell_changes(changes)
        if vector.unread:
            return explain_unread(vector.unread)
        if packed.warmed_by == "kernels":
            return ONLY_KERNELS
        env = self.view.get_env(launch)
        for name, paths in packed.entries.items():
            found = self.placements[name]
            used = get_family(name).get_roots(env)[0]
            if used != found.root and not found.is_shared:
                return f"{name}: this launch puts it at {used}, the pack lies in {found.root}"
            lost = next((path for path in paths if path in found.lost), None)
            if lost is not None:
                return f"{name}: {lost}: {found.lost[lost]}"
            other = {entry.path for entry in (*found.differing, *found.left_out)}
            kept = next((path for path in paths if path in other), None)
            if kept is not None:
                return f"{name}: {kept}: what lies here is another, and is needed here"
        return None

    def _make_manifest(self, launch: Launch, packed: PackLaunch) -> Manifest:
        env, families = self.view.get_env(launch), {}
        for name, paths in packed.entries.items():
            found, wanted = self.placements[name], frozenset(paths)
            entries = [entry for entry in found.family.entries if entry.path in wanted]
            with Tree(found.root) as tree:
                records = [record_entry(tree, found, entry) for entry in entries]
            families[name] = [
                RootRecord(to_text(str(root)), records if root == found.root else [])
                for root in get_family(name).get_roots(env)
            ]
        return Manifest(families)

    def _make(
        self, launch: Launch, state: LaunchState, reason: str, marker: str | None = None
    ) -> PulledLaunch:
        return PulledLaunch(
            model=launch.label, tp=launch.tp, state=state, reason=reason, marker=marker
        )


def record_entry(tree: Tree, found: Placement, entry: PackEntry) -> EntryRecord:
    """What lies below `tree` of an entry. Raises IntegrityError where it is not the pack's."""
    family, files = get_family(found.name), []
    for file in entry.files:
        name = file.path[len(entry.path) + 1 :]
        if name.rpartition("/")[2].startswith(".ninja_"):  # ninja's logs change with every build
            continue
        try:
            dir_fd, last = tree.locate(from_text(file.path))
            status = os.stat(last, dir_fd=dir_fd, follow_symlinks=False)
            digest = _get_digest(found, entry, file, dir_fd, last)
        except OSError as error:
            cause = f"{file.path}: {error.strerror}"
            raise IntegrityError(f"{found.name}: what was unpacked is gone", cause=cause) from error
        mtime = get_bound_mtime(family, name, status.st_mtime_ns)
        files.append(FileRecord(name, status.st_size, mtime, digest))
    return EntryRecord(entry.path, entry.kernel, True, files)


def _get_digest(found: Placement, entry: PackEntry, file: PackFile, dir_fd: int, name: str) -> str:
    """Of what lies there. Raises IntegrityError where it is not the pack's."""
    path = found.root / from_text(file.path)
    group = is_group(found.name, file.path)
    if entry.path in found.placed and not group:
        return file.sha256  # seen right when it was written
    digest = hash_file(name, dir_fd=dir_fd)
    if digest != file.sha256 and not (group and check_group(Path(path))):
        raise IntegrityError(f"{found.name}: {file.path} is not what its sha256 says")
    return digest


def find_packed(launch: Launch, packed: Sequence[PackLaunch]) -> PackLaunch | None:
    return next((each for each in packed if each.launch_key == launch.key), None)
