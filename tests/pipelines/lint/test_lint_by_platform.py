"""What one platform takes, another refuses or ignores, in specs that kfp compiled."""

from pathlib import Path
from typing import Any

import yaml
from kfp import compiler, dsl

from headrace.pipelines.lint.check import lint

IMAGE = f"europe-docker.pkg.dev/p/r/i@sha256:{'1' * 64}"


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def say(text: str) -> str:
    return text


def compiled(folder: Path, **changes: Any) -> str:
    """The spec of `pipeline`, with other values of its fields."""
    path = folder / "pipeline.yaml"
    compiler.Compiler().compile(changes.pop("pipeline"), str(path))
    if changes:
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))
    return str(path)


def found(path: str, platform: str) -> list[tuple[str, str, str]]:
    return [(one.rule, one.where, one.received) for one in lint(path, platform)]


def test_images_by_their_tags_are_one_finding(tmp_path: Path) -> None:
    @dsl.pipeline(name="plain")
    def pipeline() -> None:
        for number in range(5):
            say(text="a").set_container_image(f"registry.example.com/i:{number % 4}")

    (finding,) = lint(compiled(tmp_path, pipeline=pipeline), "kubeflow")
    assert (finding.rule, finding.where) == ("A001", "exec-say, exec-say-2, exec-say-3, exec-say-4, exec-say-5")
    assert finding.received == ", ".join(f"registry.example.com/i:{n}" for n in range(4))
    assert ": doubtful. A001" in finding.text
    assert "ignored" not in finding.text


def test_a_machine_that_only_the_run_knows(tmp_path: Path) -> None:
    @dsl.pipeline(name="machines")
    def pipeline(size: str = "4", kind: str = "NVIDIA_L4", image: str = IMAGE) -> None:
        first = say(text="a").set_cpu_limit(size).set_memory_limit(size).set_accelerator_type(kind)
        first.set_accelerator_limit(size)
        say(text="b").set_cpu_limit(first.output)
        say(text="c").set_container_image(image)

    path = compiled(tmp_path, pipeline=pipeline)
    assert lint(path, "vertex") == []
    root = yaml.safe_load(Path(path).read_text())["root"]
    root["dag"]["tasks"]["say-3"]["inputs"]["parameters"]["cpu_limit"] = {"runtimeValue": {"constant": "4"}}
    path = compiled(tmp_path, pipeline=pipeline, root=root)
    assert found(path, "vertex") == [("V013", "say-3", "argument 'cpu_limit'")]


def test_importers_of_what_a_platform_does_not_read(tmp_path: Path) -> None:
    model = "https://europe-west1-aiplatform.googleapis.com/v1/projects/p/locations/europe-west1/models/1"
    uris = ["gs://bucket/a", "oci://registry.example.com/model:1", "s3://bucket/model", "/mnt/data/model", model, ""]

    @dsl.pipeline(name="imports")
    def pipeline(other: str = "/of/the/run") -> None:
        for uri in [*uris, other]:
            dsl.importer(artifact_uri=uri, artifact_class=dsl.Model)

    path = compiled(tmp_path, pipeline=pipeline)
    assert found(path, "vertex") == [("V019", f"importer-{n}", uris[n - 1]) for n in (2, 3, 4)]
    assert not any(one.refused for one in lint(path, "vertex"))
    assert found(path, "kubeflow") == [("K013", "importer-4", "'/mnt/data/model'")]
    assert lint(path, "kubeflow")[0].refused


@dsl.pipeline(name="plain")
def plain() -> None:
    say(text="a")


def test_the_schema_of_the_api_server(tmp_path: Path) -> None:
    (finding,) = lint(compiled(tmp_path, pipeline=plain, schemaVersion="2.0.0"), "kubeflow")
    assert (finding.rule, finding.received, finding.refused) == ("K012", "'2.0.0'", True)


def test_retries_of_a_pipeline_within_another(tmp_path: Path) -> None:
    @dsl.pipeline(name="inner")
    def inner(text: str) -> None:
        say(text=text).set_retry(2)

    @dsl.pipeline(name="outer")
    def pipeline() -> None:
        inner(text="a").set_retry(3)

    path = compiled(tmp_path, pipeline=pipeline)
    assert found(path, "vertex") == [("V020", "inner", "3 retries")]
    assert not lint(path, "vertex")[0].refused


def test_a_root_that_a_submission_can_replace_is_doubtful(tmp_path: Path) -> None:
    (finding,) = lint(
        compiled(tmp_path, pipeline=plain, defaultPipelineRoot="minio://mlpipeline/v2/artifacts"), "vertex"
    )
    assert (finding.rule, finding.refused) == ("V012", False)
    assert "unless a root is given at submission" in finding.text
