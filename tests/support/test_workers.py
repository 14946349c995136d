"""The number of test processes that the memory of a machine, or of a container, is enough for."""

from pathlib import Path

import pytest
from support.workers import available_bytes, number_of_workers

GB = 1_000_000_000
_V1 = "9:memory:/docker/1\n1:name=systemd:/docker/1\n"


@pytest.mark.parametrize(
    ("cores", "available", "workers"),
    [(8, 7_500_000_000, 3), (8, 64 * GB, 8), (2, 15 * GB, 2), (4, GB, 1), (1, 0, 1), (8, -GB, 1), (4, 8 * GB, 4)],
)
def test_each_process_has_two_gigabytes(cores: int, available: int, workers: int) -> None:
    assert number_of_workers(cores, available) == workers


@pytest.mark.parametrize(
    ("own", "files", "available"),
    [
        # Version 2: the own group, one around it, and the container's own as the root of the mount.
        ("0::/a/b\n", {"a/b/memory.max": "6000000000", "a/b/memory.current": "1000000000"}, 5 * GB),
        ("0::/a/b\n", {"a/memory.max": "6000000000", "a/memory.current": "2000000000"}, 4 * GB),
        ("0::/\n", {"memory.max": "3000000000", "memory.current": "1000000000"}, 2 * GB),
        ("0::/a\n", {"a/memory.max": "max", "a/memory.current": "1000000000"}, 16 * GB),
        (
            "0::/\n",
            {
                "memory.max": "8000000000",
                "memory.current": "7000000000",
                "memory.stat": "anon 1\ninactive_file 4000000000\n",
            },
            5 * GB,
        ),
        # Version 1, whose path is the host's.
        (_V1, {"memory/memory.limit_in_bytes": "4000000000", "memory/memory.usage_in_bytes": "1000000000"}, 3 * GB),
        (_V1, {"memory/memory.limit_in_bytes": str(2**63 - 4096), "memory/memory.usage_in_bytes": "1"}, 16 * GB),
        ("0::/a\n", {}, 16 * GB),
    ],
)
def test_a_limit_of_the_container_counts(tmp_path: Path, own: str, files: dict[str, str], available: int) -> None:
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        (tmp_path / "cgroups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroups" / name).write_text(f"{text}\n")
    assert available_bytes(16 * GB, tmp_path / "cgroups", tmp_path / "own") == available


def test_a_machine_without_control_groups(tmp_path: Path) -> None:
    assert available_bytes(16 * GB, tmp_path, tmp_path / "none") == 16 * GB


def test_auto_is_bounded(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    from support import workers
    from xdist import plugin

    monkeypatch.delenv("PYTEST_XDIST_AUTO_NUM_WORKERS", raising=False)
    monkeypatch.setattr(plugin, "pytest_xdist_auto_num_workers", lambda _: 8)
    monkeypatch.setattr(workers, "available_bytes", lambda _: 7 * GB)
    assert pytestconfig.hook.pytest_xdist_auto_num_workers(config=pytestconfig) == 3
    # What a user sets is not bounded.
    monkeypatch.setenv("PYTEST_XDIST_AUTO_NUM_WORKERS", "5")
    assert pytestconfig.hook.pytest_xdist_auto_num_workers(config=pytestconfig) == 5
