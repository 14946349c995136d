"""The static pipeline as it is compiled for a self-hosted Kubeflow: the golden file, and what matters in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.components.deploy.kserve import deploy
from headrace.core.beam.runners import FlinkRunner, runner_of
from headrace.core.errors import UsageError
from headrace.core.serving_mode import Serving
from headrace.pipelines.compiler import compile_to, load_platform
from headrace.pipelines.lint.check import lint
from headrace.pipelines.lint.spec import SpecTask, read_spec
from headrace.pipelines.platforms.kubeflow_options import (
    BeamOptions,
    KubeflowOptions,
    PodOptions,
    Secret,
    ServingOptions,
    Toleration,
    VolumeClaim,
)

OPTIONS = Path(__file__).with_name("kubeflow.toml")
GOLDEN = Path(__file__).parents[1] / "golden" / "static_training_kubeflow.yaml"
BEAM, TRAIN, SERVE = (
    f"registry.example.com/headrace/{name}@sha256:{digit * 64}"
    for name, digit in (("beam", "1"), ("trainer-gpu", "2"), ("server", "3"))
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiled = tmp_path_factory.mktemp("spec") / "static.yaml"
    compile_to("static", "kubeflow", str(compiled), options_file=str(OPTIONS))
    return compiled


@pytest.fixture(scope="module")
def tasks(path: Path) -> dict[str, SpecTask]:
    return {task.where.rpartition(".")[2]: task for task in read_spec(str(path)).tasks()}


def test_the_golden_file(path: Path) -> None:
    """On purpose changed? `headrace compile static --platform kubeflow --options .../kubeflow.toml --output GOLDEN`."""
    compiled, golden = (list(yaml.safe_load_all(one.read_text())) for one in (path, GOLDEN))
    for spec, _ in (compiled, golden):
        spec.pop("sdkVersion", None)
    assert compiled == golden


def test_each_task_has_its_image(path: Path) -> None:
    assert {name: container["image"] for name, container in read_spec(str(path)).containers()} == {
        "exec-resolve": BEAM,
        "exec-preprocess": BEAM,
        "exec-train": TRAIN,
        "exec-evaluate": TRAIN,
        "exec-register": BEAM,
        "exec-deploy": BEAM,
        "exec-summarize": BEAM,
    }


def test_training_has_its_devices_and_node(path: Path) -> None:
    spec = read_spec(str(path))
    pod = spec.kubernetes()["exec-train"]
    assert pod["nodeSelector"] == {"labels": {"cloud.google.com/gke-accelerator": "nvidia-l4"}}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert pod["activeDeadlineSeconds"] == "43200"
    resources = dict(spec.containers())["exec-train"]["resources"]
    assert resources["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert resources["accelerator"]["resourceCount"] == "2"
    assert (resources["resourceCpuLimit"], resources["resourceMemoryLimit"]) == ("8", "32Gi")


def test_every_pod_has_the_claim_the_secrets_and_the_labels(path: Path) -> None:
    pods = read_spec(str(path)).kubernetes()
    assert len(pods) == 7
    for pod in pods.values():
        assert pod["imagePullPolicy"] == "Always"
        assert [secret["secretName"] for secret in pod["imagePullSecret"]] == ["registry"]
        assert [(mount["constant"], mount["mountPath"]) for mount in pod["pvcMount"]] == [("headrace", "/mnt/headrace")]
        (secret,) = pod["secretAsEnv"]
        assert secret["secretName"] == "warehouse"
        assert secret["keyToEnv"] == [{"secretKey": "token", "envVar": "WAREHOUSE_TOKEN"}]
        assert pod["podMetadata"] == {"labels": {"team": "growth"}}


def test_variables_of_all_tasks_reach_every_pod_and_those_of_one_win(tmp_path: Path) -> None:
    options, compiled = tmp_path / "kubeflow.toml", tmp_path / "static.yaml"
    text = OPTIONS.read_text().replace(
        "[kubeflow]\n", '[kubeflow]\nenvironment = { AWS_ENDPOINT_URL = "http://m:9000" }\n'
    )
    own = '[kubeflow.tasks.preprocess]\nenvironment = { AWS_ENDPOINT_URL = "http://n:9000" }\n'
    options.write_text(text.replace("[kubeflow.tasks.preprocess]\n", own))
    compile_to("static", "kubeflow", str(compiled), options_file=str(options))
    urls = {name: container["env"][0]["value"] for name, container in read_spec(str(compiled)).containers()}
    assert urls.pop("exec-preprocess") == "http://n:9000"
    assert set(urls.values()) == {"http://m:9000"}


@pytest.mark.parametrize("kind", [PodOptions, KubeflowOptions])
def test_a_secret_of_aws_is_not_compiled(kind: type[PodOptions] | type[KubeflowOptions]) -> None:
    with pytest.raises(UsageError, match="a secret must not be in a compiled spec") as error:
        kind(environment={"AWS_SECRET_ACCESS_KEY": "hunter2"})
    assert "hunter2" not in error.value.text


def test_beam_goes_to_flink(tasks: dict[str, SpecTask]) -> None:
    assert runner_of(tasks["preprocess"].inputs()["runner"]) == FlinkRunner(
        job_endpoint="beam-job-server.flink:8099",
        environment_type="EXTERNAL",
        environment_config="localhost:50000",
    )


def test_workers_in_docker_start_from_the_image_that_can_start_them(tmp_path: Path) -> None:
    text = OPTIONS.read_text()
    own = text[text.index('environment_type = "EXTERNAL"') : text.index("[kubeflow.endpoint]")]
    options = tmp_path / "kubeflow.toml"
    options.write_text(text.replace(own, ""))
    with pytest.raises(UsageError, match="the image is missing for the workers of FlinkRunner"):
        load_platform("kubeflow", str(options))
    worker = f"registry.example.com/headrace/beam-worker@sha256:{'5' * 64}"
    options.write_text(options.read_text().replace("[images]\n", f'[images]\nworker = "{worker}"\n'))
    runner = runner_of(load_platform("kubeflow", str(options)).beam())
    assert runner == FlinkRunner(job_endpoint="beam-job-server.flink:8099", environment_config=worker)


def test_the_server_is_an_inference_service(tasks: dict[str, SpecTask]) -> None:
    config = deploy.config_of(tasks["deploy"].inputs()["settings"])
    assert config == deploy.InferenceServiceConfig(
        image=SERVE,
        service_account="registry-reader",
        max_replicas=3,
        traffic=20,
        claim="headrace",
        mount="/mnt/headrace",
        image_pull_policy="Always",
        image_pull_secrets=("registry",),
        labels={"team": "growth"},
    )


def test_caching_and_retries_are_as_asked(tasks: dict[str, SpecTask]) -> None:
    cached = {name for name, task in tasks.items() if task.spec.get("cachingOptions", {}).get("enableCache")}
    assert cached == {"train", "evaluate"}
    retries = {name: task.spec.get("retryPolicy", {}).get("maxRetryCount") for name, task in tasks.items()}
    assert (retries["train"], retries["preprocess"], retries["evaluate"]) == (3, None, 2)


def test_the_lint_has_nothing_to_say(path: Path) -> None:
    assert lint(str(path), "kubeflow") == []


@pytest.mark.parametrize(
    ("kind", "values", "what"),
    [
        (PodOptions, {"accelerator": "NVIDIA_L4", "accelerator_count": 1}, "not a Kubernetes resource name"),
        (PodOptions, {"accelerator": "nvidia.com/gpu"}, "do not go together"),
        (PodOptions, {"memory": "32GB"}, "memory is not valid"),
        (PodOptions, {"cpu": "two"}, "cpu is not valid"),
        (PodOptions, {"memory": "0Gi"}, "memory is not valid"),
        (PodOptions, {"cpu": "0.0"}, "cpu is not valid"),
        (PodOptions, {"node_selector": {"a b": "c"}}, "node_selector has a label"),
        (PodOptions, {"environment": {"A-B": "c"}}, "the name of a variable is not valid"),
        (Toleration, {"operator": "Equal"}, "tolerates nothing"),
        (Toleration, {"key": "a", "operator": "Exists", "value": "b"}, "Exists does not accept a value"),
        (Toleration, {"key": "a", "effect": "Never"}, "effect is not valid"),
        (Secret, {"name": "a", "keys": {}}, "a secret's variables are not valid"),
        (VolumeClaim, {"name": "a", "mount": "/gcs"}, "the mount path of the claim is not valid"),
        (BeamOptions, {"runner": "DirectRunner", "job_endpoint": "a:1"}, "the Beam runner is not valid on Kubeflow"),
        (BeamOptions, {"runner": "FlinkRunner", "job_endpoint": "a:1", "environment_type": "LOOPBACK"}, "environment"),
        (ServingOptions, {"traffic": 20, "mode": "RawDeployment"}, "would be ignored"),
        (ServingOptions, {"min_replicas": 0, "mode": "Standard"}, "replicas are not valid"),
        (ServingOptions, {"serving": Serving("hybrid")}, "hybrid serving needs a table"),
        (ServingOptions, {"serving": Serving("static", "/tables")}, "the servers cannot read the table"),
        (KubeflowOptions, {"image_pull_policy": "Sometimes"}, "image_pull_policy is not valid"),
        (KubeflowOptions, {"tasks": {"training": PodOptions()}}, "the task does not exist"),
        (KubeflowOptions, {"labels": {"team": "a/b"}}, "labels has a label"),
    ],
)
def test_what_the_cluster_would_refuse_or_ignore(kind: Any, values: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        kind(**values)
