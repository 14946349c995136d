"""The lint finds what a platform would refuse or ignore, in specs of ours and of others."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from kfp import compiler, dsl, kubernetes

from headrace.core.errors import UsageError
from headrace.pipelines.commands.lint import lint as command
from headrace.pipelines.lint.check import lint
from headrace.pipelines.lint.finding import Finding, rules
from headrace.pipelines.lint.spec import read_spec

DIGEST = f"@sha256:{'1' * 64}"
IMAGE = f"europe-docker.pkg.dev/p/r/i{DIGEST}"


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def say(text: str) -> str:
    return text


def compiled(folder: Path, pipeline: Any) -> str:
    path = folder / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    return str(path)


def found(path: str, platform: str) -> list[tuple[str, str, str]]:
    return [(one.rule, one.where, one.received) for one in lint(path, platform)]


def changed(path: str, *keys: Any, value: Any) -> str:
    """The spec with another value at a place."""
    spec = yaml.safe_load(Path(path).read_text())
    inner = spec
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
    inner[keys[-1]] = value
    Path(path).write_text(yaml.safe_dump(spec))
    return path


@pytest.fixture
def plain(tmp_path: Path) -> str:
    @dsl.pipeline(name="plain")
    def pipeline(text: str = "a") -> None:
        say(text=text)

    return compiled(tmp_path, pipeline)


def test_a_plain_pipeline_is_right_everywhere(plain: str) -> None:
    assert lint(plain, "vertex") == lint(plain, "kubeflow") == []


def test_kubernetes_on_vertex(tmp_path: Path) -> None:
    @dsl.pipeline(name="pods")
    def pipeline() -> None:
        task = say(text="a").set_cpu_request("1").set_cpu_limit("2").set_memory_limit("4G")
        task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1)
        kubernetes.add_node_selector(task, "pool", "gpu")

    path = compiled(tmp_path, pipeline)
    assert found(path, "vertex") == [
        ("V001", "the file", "2 documents"),
        ("V004", "exec-say", "1 x nvidia.com/gpu"),
        ("V002", "platforms.kubernetes, exec-say", "nodeSelector"),
        ("V003", "exec-say", "cpuRequest 1"),
    ]
    assert found(path, "kubeflow") == []


def test_the_sdk_does_refuse_two_documents(tmp_path: Path) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    @dsl.pipeline(name="pods")
    def pipeline() -> None:
        kubernetes.add_node_selector(say(text="a"), "pool", "gpu")

    path = compiled(tmp_path, pipeline)
    with pytest.raises(yaml.composer.ComposerError, match="expected a single document"):
        aiplatform.PipelineJob(
            display_name="x",
            template_path=path,
            project="my-project",
            location="europe-west1",
            credentials=AnonymousCredentials(),
        )


def test_vertex_on_kubeflow(tmp_path: Path) -> None:
    from google_cloud_pipeline_components.v1.custom_job import create_custom_training_job_from_component

    job = create_custom_training_job_from_component(say, machine_type="n2-standard-8", accelerator_type="NVIDIA_L4")

    @dsl.pipeline(name="jobs")
    def pipeline() -> None:
        job(text="a")
        say(text="b").set_accelerator_type("NVIDIA_TESLA_T4").set_accelerator_limit(1)

    path = compiled(tmp_path, pipeline)
    on_kubeflow = found(path, "kubeflow")
    assert ("K001", "exec-say-2", "NVIDIA_TESLA_T4") in on_kubeflow
    assert ("K002", "say", "pipeline_google_cloud_project_id") in on_kubeflow
    assert ("K003", "exec-say", "google_cloud_pipeline_components.container.v1.custom_job.launcher") in on_kubeflow
    on_vertex = found(path, "vertex")
    assert [one[:2] for one in on_vertex] == [("V007", "say.worker_pool_specs[0]"), ("A001", "exec-say")]
    assert on_vertex[0][2].startswith("n2-standard-8 with 1 x NVIDIA_L4 (Each accelerator is available on")


def test_a_family_of_machines_that_is_not_known(tmp_path: Path) -> None:
    from google_cloud_pipeline_components.v1.custom_job import create_custom_training_job_from_component

    job = create_custom_training_job_from_component(say, machine_type="z3-highmem-88")

    @dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
    def deploy(machine_type: str) -> None:
        pass

    @dsl.pipeline(name="jobs")
    def pipeline() -> None:
        job(text="a")
        deploy(machine_type="z3-highmem-88")
        deploy(machine_type="n1-standard-4")

    warned = [one for one in lint(compiled(tmp_path, pipeline), "vertex") if one.rule.startswith("V")]
    assert [(one.rule, one.where, one.received, one.refused) for one in warned] == [
        ("V018", "deploy.machine_type", "z3-highmem-88", False),
        ("V018", "say.worker_pool_specs[0]", "z3-highmem-88", False),
    ]


def test_an_input_that_takes_the_place_of_the_jobs_own(tmp_path: Path) -> None:
    from google_cloud_pipeline_components.v1.custom_job import create_custom_training_job_from_component

    @dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
    def train(strategy: str = "mirrored") -> None:
        print(strategy)

    job = create_custom_training_job_from_component(train, strategy="SPOT", display_name='a "job"')

    @dsl.pipeline(name="jobs")
    def pipeline() -> None:
        job()

    assert [one[:3] for one in found(compiled(tmp_path, pipeline), "vertex") if one[0] != "A001"] == [
        ("V011", "train.display_name", "'a \"job\"'"),
        ("V015", "train.strategy", "'mirrored'"),
    ]


def test_retries_in_a_loop_and_pods_that_kubernetes_refuses(tmp_path: Path) -> None:
    @dsl.pipeline(name="loops")
    def pipeline() -> None:
        with dsl.ParallelFor(["a", "b"]) as text:
            task = say(text=text).set_retry(3)
            kubernetes.add_toleration(task, operator="Equal", value="x")
            kubernetes.mount_pvc(task, "one", "/data")
            kubernetes.mount_pvc(task, "two", "/data")
            kubernetes.add_pod_label(task, "team", "a/b")

    assert found(compiled(tmp_path, pipeline), "kubeflow") == [
        ("K006", "platforms.kubernetes, exec-say", '{"operator": "Equal", "value": "x"}'),
        ("K009", "platforms.kubernetes, exec-say", "/data, 2 times"),
        ("K010", "platforms.kubernetes, exec-say", "team=a/b"),
        ("K008", "for-loop-2.say", "3 retries"),
    ]


@pytest.mark.parametrize(
    ("keys", "value", "expected"),
    [
        (("pipelineInfo", "name"), "My Pipeline", ("V005", "pipelineInfo.name", "'My Pipeline'")),
        (("schemaVersion",), "1.0.0", ("V006", "schemaVersion", "'1.0.0'")),
        (("defaultPipelineRoot",), "/tmp/x", ("V012", "defaultPipelineRoot", "/tmp/x")),
        (
            ("deploymentSpec", "executors", "exec-say", "container", "image"),
            f"registry.example.com/a/b/c{DIGEST}",
            ("V010", "exec-say", f"registry.example.com/a/b/c{DIGEST}"),
        ),
        (
            ("root", "dag", "tasks", "say", "inputs", "parameters", "tekst"),
            {"runtimeValue": {"constant": "a"}},
            ("V013", "say", "argument 'tekst'"),
        ),
        (("root", "dag", "tasks", "say", "cachingOptions", "cacheKey"), "k", ("V014", "say", "cache key 'k'")),
    ],
)
def test_single_faults_for_vertex(plain: str, keys: tuple[str, ...], value: Any, expected: tuple[str, ...]) -> None:
    assert found(changed(plain, *keys, value=value), "vertex") == [expected]


def test_a_request_above_its_limit(plain: str) -> None:
    resources = {"cpuRequest": 4, "cpuLimit": 2}
    path = changed(plain, "deploymentSpec", "executors", "exec-say", "container", "resources", value=resources)
    assert found(path, "kubeflow") == [("K005", "exec-say", "cpu request 4 above the limit 2")]


def test_an_image_by_its_tag(plain: str) -> None:
    path = changed(plain, "deploymentSpec", "executors", "exec-say", "container", "image", value="python:3.11-slim")
    for platform in ("vertex", "kubeflow"):
        assert found(path, platform) == [("A001", "exec-say", "python:3.11-slim")]
        assert not lint(path, platform)[0].refused


@pytest.mark.parametrize("name", ["prophet_trainer", "bqml_arima_train"])
def test_pipelines_that_google_ships_are_right_for_vertex(name: str) -> None:
    package = importlib.util.find_spec("google_cloud_pipeline_components")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).parent / "v1" / "automl" / "forecasting" / f"{name}_pipeline.yaml"
    assert [one for one in lint(str(path), "vertex") if one.refused] == []
    assert {"A001", "K003"} == {one.rule for one in lint(str(path), "kubeflow")}


def test_a_component_within_itself_does_not_hold_the_lint(plain: str) -> None:
    path = changed(
        plain, "components", "comp-say", "dag", "tasks", value={"again": {"componentRef": {"name": "comp-say"}}}
    )
    assert [task.where for task in read_spec(path).tasks()] == ["say", "say.again"]


@pytest.mark.parametrize(
    ("text", "received"),
    [
        ("a: [", "while parsing"),
        ("[]", "something else"),
        ("", "something else"),
        ("root: 2026-99-99", "month must be in 1..12"),
        ("apiVersion: argoproj.io/v1alpha1\nkind: Workflow\n", "Argo"),
    ],
)
def test_files_that_are_no_specs(tmp_path: Path, text: str, received: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UsageError) as caught:
        read_spec(str(tmp_path / "x.yaml"))
    assert received in str(caught.value.received)


def test_every_rule_is_told_with_its_source() -> None:
    for name, rule in rules().items():
        assert rule["severity"] in ("refused", "ignored", "doubtful")
        assert rule["platform"] == {"V": "vertex", "K": "kubeflow", "A": "any"}[name[0]]
        assert rule["source"] in Finding(name, "here", "this").text


def test_the_command(plain: str, tmp_path: Path) -> None:
    run = CliRunner()
    right = run.invoke(command, [plain, "--platform", "vertex"])
    assert (right.exit_code, right.output) == (0, f"{plain}: OK for Vertex AI\n")
    path = changed(plain, "schemaVersion", value="1.0.0")
    wrong = run.invoke(command, [path, "--platform", "vertex", "--json"])
    assert isinstance(wrong.exception, UsageError)
    assert wrong.exception.exit_status == 2
    (finding,) = json.loads(wrong.output)
    assert finding["rule"] == "V006"


@pytest.mark.parametrize(
    ("image", "wrong"),
    [
        ("python:3.11-slim", True),
        ("docker.io/library/python@sha256:" + "0" * 64, True),
        ("tensorflow/tensorflow:2.21.0", True),
        ("europe-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest", True),
        ("gcr.io/ml-pipeline/google-cloud-pipeline-components:2.22.0", True),
        ("europe-docker.pkg.dev/p/r/python:3.11", False),
        ("registry.example.com/python:3.11", False),
        ("headrace-beam:dev", False),
    ],
)
def test_a_component_of_headrace_starts_from_an_image_that_holds_it(tmp_path: Path, image: str, wrong: bool) -> None:
    from headrace.components import preprocess

    @dsl.pipeline(name="plain")
    def pipeline(problem: str, data: str) -> None:
        preprocess(problem=problem, data=data).set_container_image(image)
        say(text="a")

    path = compiled(tmp_path, pipeline)
    for platform in ("vertex", "kubeflow"):
        judged = [(one.where, one.received, one.refused) for one in lint(path, platform) if one.rule == "A002"]
        assert judged == ([("exec-preprocess", image, True)] if wrong else [])


def test_an_image_that_installs_headrace_when_it_starts_holds_it(tmp_path: Path) -> None:
    @dsl.component(base_image="python:3.11-slim", packages_to_install=["headrace[beam]"])
    def installed() -> str:
        import headrace

        return str(headrace.__version__)

    @dsl.component(base_image="python:3.11-slim")
    def missing() -> str:
        from headrace import Problem

        return Problem.__name__

    @dsl.pipeline(name="plain")
    def pipeline() -> None:
        installed()
        missing()

    path = compiled(tmp_path, pipeline)
    assert [one.where for one in lint(path, "kubeflow") if one.rule == "A002"] == ["exec-missing"]


def test_the_workers_of_a_custom_job_start_from_an_image_that_holds_headrace(tmp_path: Path) -> None:
    golden = Path(__file__).parents[1] / "golden" / "static_training_vertex.yaml"
    assert not [one for one in lint(str(golden), "vertex") if one.rule == "A002"]
    spec = golden.read_text()
    (trainer,) = set(re.findall(r"image_uri: (\S*trainer-gpu\S*)", spec))
    path = tmp_path / "static.yaml"
    path.write_text(spec.replace(f"image_uri: {trainer}", "image_uri: tensorflow/tensorflow:2.21.0"))
    found = [one.where for one in lint(str(path), "vertex") if one.rule == "A002"]
    assert len(found) == 2
    assert all(where.endswith(f"train.worker_pool_specs[{n}]") for n, where in enumerate(sorted(found)))
