from __future__ import annotations

from pathlib import Path

from headrace.components.train.devices import hardware, strategy
from headrace.components.train.devices.hardware import Hardware


def test_this_machine_is_described() -> None:
    found = hardware.describe()
    assert found.cores >= 1
    assert found.to_json()["device"] in {"CPU", "GPU"}


def test_free_memory_is_the_least_of_machine_and_container(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 2000 kB\nMemAvailable:   1000 kB\n")
    assert hardware.available_memory(meminfo, tmp_path) == 1_024_000
    (tmp_path / "memory.current").write_text("300\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert hardware.available_memory(meminfo, tmp_path) == 1_024_000
    (tmp_path / "memory.max").write_text("1000\n")
    assert hardware.available_memory(meminfo, tmp_path) == 700
    assert hardware.available_memory(tmp_path / "absent", tmp_path / "absent") is None


def test_one_device_is_chosen_with_its_reason() -> None:
    def chosen(devices: tuple[str, ...], accelerator: str | None) -> tuple[str, str, str]:
        choice = strategy.choose(Hardware(devices, accelerator, cores=4, memory_bytes=None))
        return choice.name, choice.device, choice.why

    assert chosen((), None) == ("OneDevice", "CPU:0", "no accelerator: the CPU, with 4 cores")
    assert chosen(("GPU:0",), "NVIDIA T4") == ("OneDevice", "GPU:0", "one NVIDIA T4 was found")
    assert chosen(("GPU:0", "GPU:1"), "NVIDIA T4") == (
        "Mirrored",
        "GPU:0",
        "2 of NVIDIA T4 were found",
    )
