from __future__ import annotations

from pathlib import Path

from warmup.words.mounts import find_mount, parse_mounts

# proc_pid_mountinfo(5), as recorded on a runner: an overlay root, NFS caches, a later mount on top.
TEXT = """\
21 1 0:20 / / rw,relatime shared:1 - overlay overlay rw,lowerdir=/a,upperdir=/b
30 21 0:30 / /dev/shm rw,nosuid - tmpfs tmpfs rw,size=64k
31 21 0:31 /x /data rw shared:2 master:1 - nfs4 host:/x rw,vers=4.2,local_lock=none
32 31 0:32 / /data/with\\040space rw - nfs host:/y rw,nolock
33 21 0:33 / /data rw - lustre mds:/z rw,lazystatfs
"""


def test_the_longest_mount_point_holds_a_path() -> None:
    for path, kind in (
        ("/etc/x", "overlay"),
        ("/dev/shm/x", "tmpfs"),
        ("/dev/shmx", "overlay"),
        ("/data/y", "lustre"),
        ("/data/with space/z", "nfs"),
    ):
        mount = find_mount(path, TEXT)
        assert mount is not None and mount.kind == kind, path


def test_options_of_mount_and_super_block_are_one() -> None:
    assert {"rw", "relatime", "lowerdir=/a"} <= parse_mounts(TEXT)[0].options


def test_broken_lines_are_passed_over() -> None:
    assert parse_mounts("\nnonsense\n1 2 3 - \n") == []


def test_this_kernel_says_where_a_path_lies(tmp_path: Path) -> None:
    mount = find_mount(str(tmp_path))
    assert mount is not None and str(tmp_path).startswith(mount.point)
    shm = find_mount("/dev/shm")
    assert shm is None or shm.point != "/dev/shm" or shm.kind == "tmpfs"
