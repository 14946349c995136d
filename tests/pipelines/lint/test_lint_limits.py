"""The lint finds what a platform's limits would drop or refuse."""

from pathlib import Path
from typing import Any

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
