"""No value in a spec ends the lint with an error of its own, and what the platforms' parsers refuse is refused."""

import copy
import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler, dsl, kubernetes

from headrace.core.errors import UsageError
from headrace.pipelines.lint.check import lint, lint_spec
from headrace.pipelines.lint.spec import Spec, read_spec

IMAGE = f"europe-docker.pkg.dev/p/r/i@sha256:{'1' * 64}"
VALUES: tuple[Any, ...] = (
    *(None, "", "x", -1, 1.5, True, 10**30, float("inf"), float("nan"), datetime.date(2026, 1, 2)),
    *([], {}, [None], ["x"], {"x": None}),
)


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def say(text: str) -> str:
    return text


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Spec:
    """A spec with all that the rules read: jobs, studies, loops, importers, resources and settings of pods."""
    from google_cloud_pipeline_components.v1.custom_job import create_custom_training_job_from_component
    from google_cloud_pipeline_components.v1.hyperparameter_tuning_job import HyperparameterTuningJobRunOp

    job = create_custom_training_job_from_component(say, machine_type="n1-standard-8", labels={"a": "b"})

    @dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
    def last(status: dsl.PipelineTaskFinalStatus) -> None:
        pass

    @dsl.pipeline(name="inner")
    def inner(text: str) -> None:
        say(text=text)

    @dsl.pipeline(name="all")
    def pipeline(cpu: str = "1") -> None:
        with dsl.ExitHandler(last()), dsl.ParallelFor(["a", "b"]) as text:
            task = say(text=text).set_retry(3).set_cpu_request("1").set_cpu_limit("2")
            task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1)
            kubernetes.add_toleration(task, key="a", operator="Equal", value="x")
            kubernetes.mount_pvc(task, "one", "/data")
            kubernetes.add_pod_label(task, "team", "a")
            kubernetes.use_secret_as_env(task, "name", {"key": "VARIABLE"}, optional=True)
        dsl.importer(artifact_uri="gs://bucket/model", artifact_class=dsl.Model)
        inner(text="a").set_retry(2)
        job(text="a")
        HyperparameterTuningJobRunOp(
            display_name="search",
            base_output_directory="gs://bucket/search",
            worker_pool_specs=[{"machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1}],
            study_spec_metrics=[{"metric_id": "loss", "goal": "MINIMIZE"}],
            study_spec_parameters=[{"parameter_id": "x", "double_value_spec": {"min_value": 0.1, "max_value": 1}}],
            max_trial_count=4,
            parallel_trial_count=2,
        )

    path = tmp_path_factory.mktemp("spec") / "all.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    return read_spec(str(path))


def places(value: Any, *keys: Any) -> Iterator[tuple[Any, ...]]:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*keys, key)
        if isinstance(inner, dict | list):
            yield from places(inner, *keys, key)


@pytest.mark.parametrize("platform", ["vertex", "kubeflow"])
@pytest.mark.parametrize("document", ["pipeline", "platform"])
def test_no_value_ends_the_lint(spec: Spec, platform: str, document: str) -> None:
    documents: dict[str, Any] = {"pipeline": dict(spec.pipeline), "platform": dict(spec.platform)}
    assert "A003" not in {one.rule for one in lint_spec(spec, platform)}
    refused = total = 0
    for number, (*keys, last) in enumerate(places(documents[document])):
        # A value for each place, in turn, and null for all: it is what people leave.
        for value in (None, VALUES[number % len(VALUES)]):
            other = copy.deepcopy(documents)
            inner = other[document]
            for key in keys:
                inner = inner[key]
            inner[last] = value
            found = lint_spec(Spec(**other, documents=2), platform)
            refused += any(one.rule == "A003" for one in found)
            total += 1
    assert 0 < refused < total


def written(folder: Path, **changes: Any) -> str:
    """A spec of one task, as others write it."""
    container = {"image": IMAGE, "command": ["echo"], **changes.pop("container", {})}
    spec = {
        "pipelineInfo": {"name": "plain"},
        "schemaVersion": "2.1.0",
        "components": {"comp-a": {"executorLabel": "exec-a"}},
        "deploymentSpec": {"executors": {"exec-a": {"container": container}}},
        "root": {"dag": {"tasks": {"a": {"componentRef": {"name": "comp-a"}, "taskInfo": {"name": "a"}}}}},
        **changes,
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    return str(folder / "spec.yaml")


@pytest.mark.parametrize("platform", ["vertex", "kubeflow"])
def test_null_and_what_the_parsers_do_not_know(tmp_path: Path, platform: str) -> None:
    assert lint(written(tmp_path, container={"command": None, "args": None, "resources": None}), platform) == []
    # The backend reads deploymentSpec with unknown fields.
    assert lint(written(tmp_path, container={"other": 1}), platform) == []
    (found,) = lint(written(tmp_path, componentz={}), platform)
    assert (found.rule, found.where, found.refused) == ("A003", "the spec", True)
    assert "componentz" in found.received
    infinite = {"inputDefinitions": {"parameters": {"a": {"parameterType": float("inf")}}}}
    (found,) = lint(written(tmp_path, components={"comp-a": infinite}), platform)
    assert (found.rule, found.where) == ("A003", "the spec")
    (found,) = lint(written(tmp_path, container={"command": [None]}), platform)
    assert (found.rule, found.where) == ("A003", "deploymentSpec")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"pipelineInfo": {}}, "pipelineInfo.name"),
        ({"pipelineInfo": None}, "pipelineInfo.name"),
        ({"root": None}, "root"),
    ],
)
def test_a_pipeline_without_a_name_or_a_root(tmp_path: Path, changes: dict[str, Any], where: str) -> None:
    (found,) = lint(written(tmp_path, **changes), "kubeflow")
    assert (found.rule, found.where, found.refused) == ("K011", where, True)


def test_settings_of_pods_without_the_package_that_has_their_messages(
    spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "kfp.kubernetes", None)
    with pytest.raises(UsageError, match=r"kfp-kubernetes, which is not installed"):
        lint_spec(spec, "kubeflow")
    assert lint_spec(spec, "vertex")


def bomb(line: str, lines: int = 12) -> str:
    """Lines of a mapping, each of which names the one before nine times."""
    text = "a0: &a0 {k: v}\n"
    for number in range(1, lines):
        text += f"a{number}: &a{number} {line.replace('NINE', ','.join([f'*a{number - 1}'] * 9))}\n"
    return text


@pytest.mark.parametrize(
    ("text", "received"),
    [
        (bomb("[NINE]"), "aliases stand for more than 4,194,304 values and characters up to line 8"),
        (bomb("{<<: [NINE]}"), "aliases stand for more than 4,194,304 values and characters up to line 8"),
        ("- &a " + "x" * 1_000_000 + "\n- *a" * 5, "aliases stand for more than 4,194,304 values and characters up to"),
        ("root: &a {b: [*a]}", "the alias in line 1 names a value that holds it"),
        ("root: &a [1]\n---\nroot: *a", "found undefined alias"),
    ],
    ids=["lists", "merges", "texts", "itself", "another document"],
)
def test_aliases_that_stand_for_much_are_refused_before_they_are_written_out(
    tmp_path: Path, text: str, received: str
) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        lint(str(path), "vertex")
    assert caught.value.what == "the file cannot be read"
    assert str(caught.value.received).startswith(received)


def test_aliases_are_what_they_name(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    shared = "executors: &e {exec-a: {container: {image: i}}}"
    path.write_text(
        f"pipelineInfo: {{name: &n p}}\ndeploymentSpec: {{{shared}}}\nroot: {{dag: {{tasks: {{}}}}}}\n"
        "components: {comp-a: {executorLabel: *n}, comp-b: {<<: *e, other: *e}}\n"
    )
    read = read_spec(str(path))
    container = {"exec-a": {"container": {"image": "i"}}}
    assert read.pipeline["components"] == {
        "comp-a": {"executorLabel": "p"},
        "comp-b": {**container, "other": container},
    }
