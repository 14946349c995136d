"""The lint finds what a platform's limits would drop or refuse."""

import random
from pathlib import Path
from typing import Any

import pytest
from google_cloud_pipeline_components.container.v1.gcp_launcher.utils import json_util
from kfp import compiler, dsl

from headrace.pipelines.lint.check import lint

IMAGE = f"europe-docker.pkg.dev/p/r/i@sha256:{'1' * 64}"


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def say(text: str) -> str:
    return text


def compiled(folder: Path, pipeline: Any) -> str:
    path = folder / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    return str(path)


def found(path: str, platform: str) -> list[tuple[str, str, str]]:
    return [(one.rule, one.where, one.received) for one in lint(path, platform) if one.rule != "A001"]


def test_empty_values_that_a_launcher_removes(tmp_path: Path) -> None:
    from google_cloud_pipeline_components.v1.custom_job import create_custom_training_job_from_component

    labels, variables = {"team": "", "cost": "9"}, [{"name": "A", "value": ""}, {"name": "B", "value": "0"}]
    job = create_custom_training_job_from_component(say, labels=labels, env=variables)

    @dsl.pipeline(name="jobs")
    def pipeline() -> None:
        job(text="a")

    assert found(compiled(tmp_path, pipeline), "vertex") == [
        ("V021", "say.labels", "team=''"),
        ("V021", "say.worker_pool_specs[0].env", "A"),
    ]
    sent = json_util.recursive_remove_empty({"labels": labels, "env": variables})
    assert sent == {"labels": {"cost": "9"}, "env": [{"name": "A"}, {"name": "B", "value": "0"}]}


@pytest.mark.parametrize(
    ("cpu", "memory", "expected"),
    [
        ("96", "624G", []),
        ("96000m", "581Gi", []),
        ("97", "1G", [("V022", "exec-say", "cpuLimit 97")]),
        ("96001m", "1G", [("V022", "exec-say", "cpuLimit 96001m")]),
        ("1", "625G", [("V022", "exec-say", "memoryLimit 625G")]),
        ("1", "582Gi", [("V022", "exec-say", "memoryLimit 582Gi")]),
        ("1", "1T", [("V022", "exec-say", "memoryLimit 1T")]),
        ("1", "700000M", [("V022", "exec-say", "memoryLimit 700000M")]),
    ],
)
def test_machines_that_no_task_has(tmp_path: Path, cpu: str, memory: str, expected: list[tuple[str, str, str]]) -> None:
    @dsl.pipeline(name="machines")
    def pipeline() -> None:
        say(text="a").set_cpu_limit(cpu).set_memory_limit(memory)

    path = compiled(tmp_path, pipeline)
    assert found(path, "vertex") == expected
    assert found(path, "kubeflow") == []


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ("cpuLimit: 96.0, memoryLimit: 624.0", []),
        ("cpuLimit: 128.0, memoryLimit: 640.0", ["cpuLimit 128", "memoryLimit 640"]),
    ],
)
def test_machines_of_older_compilers_are_numbers(tmp_path: Path, resources: str, expected: list[str]) -> None:
    @dsl.pipeline(name="machines")
    def pipeline() -> None:
        say(text="a")

    path = Path(compiled(tmp_path, pipeline))
    path.write_text(path.read_text().replace("image: europe", f"resources: {{{resources}}}\n        image: europe"))
    assert found(str(path), "vertex") == [("V022", "exec-say", one) for one in expected]


def test_a_machine_that_only_the_run_knows(tmp_path: Path) -> None:
    @dsl.pipeline(name="machines")
    def pipeline(cpu: str = "128") -> None:
        say(text="a").set_cpu_limit(cpu)

    assert found(compiled(tmp_path, pipeline), "vertex") == []


@pytest.mark.parametrize(("length", "received"), [(9_978, None), (9_979, "10,001 characters, most of 'text'")])
def test_parameters_that_kubeflow_refuses(tmp_path: Path, length: int, received: str | None) -> None:
    # With '{"a": "b", "text": ""}' around it.
    long = "\u00e9" * length

    @dsl.pipeline(name="long")
    def pipeline(a: str = "b", text: str = long) -> None:
        say(text=text)

    path = compiled(tmp_path, pipeline)
    expected = [("K015", "root.inputDefinitions.parameters", received)] if received else []
    assert found(path, "kubeflow") == expected
    assert found(path, "vertex") == []


def test_a_pipeline_that_is_too_large_for_an_object_of_kubernetes(tmp_path: Path) -> None:
    def of(tasks: int, size: int) -> str:
        @dsl.pipeline(name="large")
        def pipeline() -> None:
            for number in range(tasks):
                say(text=random.Random(number).randbytes(size // 2).hex())

        return compiled(tmp_path, pipeline)

    assert found(of(20, 1_000), "kubeflow") == []
    ((rule, where, received),) = found(of(20, 60_000), "kubeflow")
    assert (rule, where, received) == ("K016", "the file", "1.2 MB, 20 tasks")
