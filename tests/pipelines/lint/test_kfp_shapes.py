"""Shapes that KFP's own compiler writes, and its backend takes: none is refused. What its backend refuses is."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler, dsl, kubernetes

from headrace.pipelines.lint.backend import needs
from headrace.pipelines.lint.check import lint
from headrace.pipelines.lint.parse import parse, settings_version
from headrace.pipelines.lint.spec import read_spec

IMAGE = f"europe-docker.pkg.dev/p/r/i@sha256:{'1' * 64}"
_component = dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)


@_component
def say(text: str) -> str:
    return text


@_component
def make(out: dsl.Output[dsl.Dataset]) -> None:
    pass


@_component
def use(one: dsl.Input[dsl.Dataset]) -> None:
    pass


@_component
def use_all(all_of: dsl.Input[list[dsl.Dataset]]) -> None:
    pass


@_component
def several() -> list:  # type: ignore[type-arg]
    return []


@_component
def last(status: dsl.PipelineTaskFinalStatus, text: str = "") -> None:
    pass


@dsl.pipeline(name="inner")
def inner(text: str = "a", maybe: dsl.Input[dsl.Dataset] = None) -> str:
    return say(text=text).output  # type: ignore[no-any-return]


@dsl.pipeline(name="branches", description="one of three")
def branches(text: str = "a") -> str:
    with dsl.If(text == "a"):
        one = say(text="1")
    with dsl.Elif(text == "b"):
        two = say(text="2")
    with dsl.Else():
        three = say(text="3")
    return dsl.OneOf(one.output, two.output, three.output)  # type: ignore[no-any-return]


@dsl.pipeline(name="loops")
def loops(texts: list[str]) -> None:
    with dsl.ParallelFor(texts, parallelism=2) as outer, dsl.ParallelFor([{"x": 1}, {"x": 2}]) as pair:
        say(text=f"{outer} and {pair.x}")
    with dsl.ParallelFor(several().output):
        made = make()
    use_all(all_of=dsl.Collected(made.outputs["out"]))


@dsl.pipeline(name="nested-within-an-exit-handler")
def nested(text: str) -> None:
    with dsl.ExitHandler(last(text=text), name="first"):
        inner(text=text)
    with dsl.ExitHandler(last(), name="second"):
        say(text=text).set_caching_options(enable_caching=False, cache_key="mine").ignore_upstream_failure()


@dsl.pipeline(name="import-a-thing")
def imports(uri: str = "gs://bucket/data") -> None:
    found = dsl.importer(
        artifact_uri=uri, artifact_class=dsl.Dataset, reimport=True, metadata={"uri": uri, "a": ["b", 1.5, None]}
    )
    use(one=found.output)


@dsl.pipeline(
    name="settings",
    pipeline_config=dsl.PipelineConfig(
        workspace=dsl.WorkspaceConfig(
            size="1Gi",
            kubernetes=dsl.KubernetesWorkspaceConfig(pvcSpecPatch={"accessModes": ["ReadWriteOnce"]}),
        )
    ),
)
def settings(secret: str = "s", cpu: str = "1") -> None:
    task = say(text=dsl.WORKSPACE_PATH_PLACEHOLDER)
    kubernetes.use_secret_as_env(task, secret, {"key": "VARIABLE"})
    kubernetes.use_field_path_as_env(task, "NODE", "spec.nodeName")
    kubernetes.empty_dir_mount(task, volume_name="tmp", mount_path="/tmp/x", medium="Memory", size_limit="1Gi")
    kubernetes.add_node_affinity_json(task, {"requiredDuringSchedulingIgnoredDuringExecution": {}})
    kubernetes.add_toleration_json(task, {"key": "a", "operator": "Exists"})
    kubernetes.set_timeout(task, 20)
    task.set_cpu_limit(cpu).set_env_variable("A", "").set_retry(2, backoff_duration="30s")


TAKEN = [branches, loops, nested, imports, settings, inner]


def compiled(folder: Path, pipeline: Any) -> str:
    compiler.Compiler().compile(pipeline, str(folder / "pipeline.yaml"))
    return str(folder / "pipeline.yaml")


def edited(path: str, **changes: Any) -> str:
    """The spec with other values at paths of keys, joined by dots."""
    documents = list(yaml.safe_load_all(Path(path).read_text()))
    for place, value in changes.items():
        *keys, key = place.split("/")
        holder = documents[int(keys[0])]
        for one in keys[1:]:
            holder = holder[one]
        holder[key] = value
    Path(path).write_text(yaml.safe_dump_all(documents))
    return path


@pytest.mark.parametrize("pipeline", TAKEN)
@pytest.mark.parametrize("platform", ["vertex", "kubeflow"])
def test_what_the_compiler_writes_is_not_refused(tmp_path: Path, pipeline: Any, platform: str) -> None:
    path = compiled(tmp_path, pipeline)
    # Settings of pods are a second document, which Vertex AI's SDK does not read.
    expected = {"V001"} if (platform, pipeline) == ("vertex", settings) else set()
    assert {one.rule for one in lint(path, platform) if one.refused} == expected
    assert lint(path, platform, backend="2.17" if platform == "kubeflow" else "") is not None
    needs(parse(read_spec(path), "kubeflow")[0])


def test_empty_documents_and_comments_are_none(tmp_path: Path) -> None:
    path = Path(compiled(tmp_path, inner))
    path.write_text(f"# by hand\n---\n---\n{path.read_text()}\n---\n---\n")
    assert not [one for one in lint(str(path), "kubeflow") if one.refused]


def test_a_loop_over_artifacts_is_not_in_the_backend(tmp_path: Path) -> None:
    path = compiled(tmp_path, loops)
    spec = read_spec(path).pipeline
    name = next(name for name, one in spec["root"]["dag"]["tasks"].items() if "parameterIterator" in one)
    iterator = {"items": {"inputArtifact": "x"}, "itemInput": "y"}
    place = f"0/root/dag/tasks/{name}"
    edited(path, **{f"{place}/artifactIterator": iterator, f"{place}/parameterIterator": None})
    (finding,) = [one for one in lint(path, "kubeflow") if one.refused]
    assert (finding.rule, finding.where, finding.received) == ("K018", name, "a loop over artifacts")


@pytest.mark.parametrize(
    ("place", "value", "received"),
    [
        ("0/components/comp-say/executorLabel", "exec-other", "executor 'exec-other' does not exist"),
        ("0/root/dag/tasks/say/componentRef/name", "comp-other", "component 'comp-other' does not exist"),
        ("0/deploymentSpec/executors/exec-say", {"customJob": {"customJob": {}}}, "a custom job of Vertex AI"),
        ("0/deploymentSpec/executors/exec-say", {"resolver": {}}, "a resolver"),
    ],
)
def test_what_the_backend_does_not_compile(tmp_path: Path, place: str, value: Any, received: str) -> None:
    path = edited(compiled(tmp_path, inner), **{place: value})
    found = [one for one in lint(path, "kubeflow") if one.refused]
    assert [(one.rule, one.where, one.received) for one in found] == [("K018", "say", received)]


def test_a_setting_of_a_newer_kfp_kubernetes(tmp_path: Path) -> None:
    path = compiled(tmp_path, settings)
    place = "1/platforms/kubernetes/deploymentSpec/executors/exec-say"
    edited(path, **{f"{place}/initHelpers": [{"name": "a"}]})
    found = {one.rule: one for one in lint(path, "kubeflow")}
    assert not [one for one in found.values() if one.refused]
    assert found["K017"].where == "platforms.kubernetes, exec-say"
    assert 'no field named "initHelpers"' in found["K017"].received
    assert "Available" not in found["K017"].received
    # The backend of the installed release has the messages of that release.
    refused = [one for one in lint(path, "kubeflow", backend=settings_version()) if one.refused]
    assert [one.rule for one in refused] == ["K014"]
    assert not [one for one in lint(path, "kubeflow", backend="99.0") if one.refused]
    # Another type is refused by each.
    edited(path, **{f"{place}/imagePullPolicy": {"x": 1}})
    assert [one.rule for one in lint(path, "kubeflow") if one.refused] == ["A003"]
