"""What a process may take: control groups of both versions, written as the kernel writes them."""

from __future__ import annotations

from pathlib import Path

import torch

from regraft.core.memory import ControlGroup, available_memory, count_kills, in_bytes, memory_limit


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_version_2_takes_the_tightest_of_nested_groups(tmp_path: Path) -> None:
    member = tmp_path / "cgroup"
    member.write_text("0::/outer/inner\n")
    root = tmp_path / "fs"
    write(root, memory__stat="inactive_file 0\n")
    write(
        root / "outer",
        memory__max="1000000",
        memory__current="600000",
        memory__stat="anon 1\ninactive_file 100000\n",
    )
    write(
        root / "outer" / "inner",
        memory__max="max",
        memory__current="5",
        memory__events="low 0\noom 3\noom_kill 2\n",
    )
    group = ControlGroup.find(root, member)
    assert group is not None
    assert (group.limit, group.room, group.kills) == (1_000_000, 500_000, 2)


def test_version_1_and_a_container_that_sees_its_own_group_on_top(tmp_path: Path) -> None:
    member = tmp_path / "cgroup"
    member.write_text("5:cpu:/\n4:memory:/docker/0123\n0::/\n")
    root = tmp_path / "fs"
    write(
        root / "memory",
        memory__limit_in_bytes="2000000\n",
        memory__usage_in_bytes="1500000\n",
        memory__stat="inactive_file 1\ntotal_inactive_file 200000\n",
        memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 7\n",
    )
    group = ControlGroup.find(root, member)
    assert group is not None
    assert (group.limit, group.room, group.kills) == (2_000_000, 700_000, 7)
    write(root / "memory", memory__limit_in_bytes="9223372036854771712\n")
    assert (group.limit, group.room) == (None, None)


def test_where_there_are_no_groups_the_machine_is_the_limit(tmp_path: Path) -> None:
    assert ControlGroup.find(tmp_path, tmp_path / "none") is None
    assert count_kills(tmp_path) == 0
    assert 0 < available_memory(torch.device("cpu")) <= memory_limit()


def test_bytes_are_said_in_units() -> None:
    assert [in_bytes(count) for count in (640e3, 12.34e6, 1.25e9)] == ["640 kB", "12.3 MB", "1.2 GB"]
