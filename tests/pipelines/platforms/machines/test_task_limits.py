"""Limits of a task on Vertex AI are checked by one rule when it is compiled, linted and submitted."""

from pathlib import Path
from typing import Any

import pytest
from kfp import compiler, dsl
from support.command import headrace

from headrace.core.errors import UsageError
from headrace.pipelines.lint.check import lint
from headrace.pipelines.platforms.machines import task_limits
from headrace.pipelines.platforms.vertex_options import TaskOptions

IMAGE = f"europe-docker.pkg.dev/p/r/i@sha256:{'1' * 64}"
ALLOWED = ("1M", "16Gi", "624G", "581Gi", "624000M", "595092Mi")
REFUSED = ("0G", "0Mi", "00M", "625G", "624Gi", "582Gi", "624001M", "700000M", "595093Mi", "9999999Mi")


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def say(text: str) -> str:
    return text


def compiled(folder: Path, cpu: str, memory: str) -> str:
    @dsl.pipeline(name="limits")
    def pipeline() -> None:
        say(text="a").set_cpu_limit(cpu).set_memory_limit(memory)

    path = folder / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    return str(path)


def linted(spec: str) -> list[str]:
    return [one.received for one in lint(spec, "vertex") if one.rule == "V022"]


@pytest.mark.parametrize("memory", ALLOWED)
def test_a_memory_that_a_machine_has(tmp_path: Path, memory: str) -> None:
    assert TaskOptions(memory=memory).memory == memory
    assert linted(compiled(tmp_path, "1", memory)) == []


@pytest.mark.parametrize("memory", REFUSED)
def test_a_memory_that_no_machine_has(tmp_path: Path, memory: str) -> None:
    with pytest.raises(UsageError, match="memory is not valid") as caught:
        TaskOptions(memory=memory)
    assert caught.value.expected is not None
    assert "624 GB" in caught.value.expected
    assert caught.value.received == repr(memory)
    assert linted(compiled(tmp_path, "1", memory)) == [f"memoryLimit {memory}"]


@pytest.mark.parametrize("memory", ["32GB", "32", "1.5G", "-1G", "1e3G", "8T", "4K", "G", " 4G", "4G\n"])
def test_a_memory_that_is_none(memory: str) -> None:
    with pytest.raises(UsageError, match="memory is not valid"):
        TaskOptions(memory=memory)


@pytest.mark.parametrize(("cpu", "option"), [("0", None), ("0.0", None), ("0m", None), ("97", 97), ("96001m", None)])
def test_cpus_that_no_machine_has(tmp_path: Path, cpu: str, option: int | None) -> None:
    assert linted(compiled(tmp_path, cpu, "1G")) == [f"cpuLimit {cpu}"]
    if option is not None:
        with pytest.raises(UsageError, match="cpu is not valid"):
            TaskOptions(cpu=option)


def test_options_leave_limits_to_the_service() -> None:
    assert (TaskOptions().cpu, TaskOptions().memory) == (0, "")
    with pytest.raises(UsageError, match="cpu is not valid"):
        TaskOptions(cpu=-1)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"resourceCpuLimit": "{{$.inputs.parameters['cpu']}}"}, []),
        ({"cpuLimit": 0.0, "memoryLimit": 0.0}, []),
        ({"cpuLimit": 96.5, "memoryLimit": 625.0}, ["cpuLimit 96.5", "memoryLimit 625"]),
        ({"resourceCpuLimit": "8", "cpuLimit": 128.0}, []),
        ({"resourceMemoryLimit": "1E", "memoryLimit": 1.0}, ["memoryLimit 1E"]),
    ],
)
def test_limits_of_a_spec(resources: dict[str, Any], expected: list[str]) -> None:
    """Zero as a number is what a spec has for no limit, and a text takes precedence over a number."""
    assert task_limits.broken_limits(resources) == expected


def test_a_spec_is_checked_when_it_is_submitted(tmp_path: Path) -> None:
    location = ("--platform", "vertex", "--project", "my-project", "--region", "europe-west1", "--root", "gs://b/root")
    spec = compiled(tmp_path, "8", "624Gi")
    refused = headrace("submit", spec, *location, "--dry-run")
    assert refused.returncode == 2
    assert "a task's limit is not valid" in refused.stderr
    assert "exec-say" in refused.stderr
    assert "memoryLimit 624Gi" in refused.stderr
    assert headrace("submit", compiled(tmp_path, "8", "581Gi"), *location, "--dry-run").returncode == 0
    elsewhere = ("--platform", "kubeflow", "--kubeflow-url", "http://127.0.0.1:1", "--root", "gs://b/root")
    assert headrace("submit", spec, *elsewhere, "--dry-run").returncode == 0
