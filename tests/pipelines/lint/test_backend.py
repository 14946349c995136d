"""What only newer backends of Kubeflow Pipelines take is known before one refuses it."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from kfp import compiler, dsl, kubernetes

from headrace.core.errors import UsageError
from headrace.pipelines.commands.compile import compile_
from headrace.pipelines.commands.lint import lint as command
from headrace.pipelines.lint.check import least_backend, lint

IMAGE = f"europe-docker.pkg.dev/p/r/i@sha256:{'1' * 64}"
OPTIONS = Path(__file__).parents[1] / "platforms" / "kubeflow.toml"


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def say(text: str) -> str:
    return text


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def last(status: dsl.PipelineTaskFinalStatus) -> None:
    pass


@dsl.pipeline(name="plain")
def plain() -> None:
    say(text="a")


@dsl.pipeline(name="status")
def status() -> None:
    with dsl.ExitHandler(last()):
        say(text="a")


@dsl.pipeline(name="claim")
def claim() -> None:
    kubernetes.mount_pvc(say(text="a"), "claim", "/data")


@dsl.pipeline(name="secret")
def secret() -> None:
    kubernetes.use_secret_as_env(say(text="a"), "name", {"key": "VARIABLE"}, optional=True)


def compiled(folder: Path, pipeline: Any) -> str:
    compiler.Compiler().compile(pipeline, str(folder / "pipeline.yaml"))
    return str(folder / "pipeline.yaml")


@pytest.mark.parametrize(
    ("pipeline", "least", "older", "where"),
    [
        (claim, "2.5", "2.4.1", "platforms.kubernetes, exec-say"),
        (status, "2.14", "v2.13", "last"),
        (secret, "2.15", "2.14.3", "platforms.kubernetes, exec-say"),
    ],
)
def test_the_least_version_of_the_backend(tmp_path: Path, pipeline: Any, least: str, older: str, where: str) -> None:
    path = compiled(tmp_path, pipeline)
    assert least_backend(path).startswith(f"{least} or newer (a ")
    assert lint(path, "kubeflow") == lint(path, "kubeflow", backend=least) == []
    (finding,) = lint(path, "kubeflow", backend=older)
    assert (finding.rule, finding.where, finding.refused) == ("K014", where, True)
    assert f"needs {least}" in finding.received


def test_a_spec_that_every_backend_takes(tmp_path: Path) -> None:
    path = compiled(tmp_path, plain)
    assert least_backend(path) == ""
    assert lint(path, "kubeflow", backend="2.0") == []


def test_the_commands_say_it(tmp_path: Path) -> None:
    run = CliRunner()
    path = compiled(tmp_path, status)
    said = run.invoke(command, [path, "--platform", "kubeflow"])
    assert said.output.splitlines() == [
        f"{path}: OK for Kubeflow",
        "Needs Kubeflow Pipelines 2.14 or newer (a task that is given the final status)",
    ]
    assert (
        run.invoke(command, [path, "--platform", "kubeflow", "--backend", "2.14"]).output
        == f"{path}: OK for Kubeflow\n"
    )
    for arguments in (
        ["kubeflow", "--backend", "2.13"],
        ["kubeflow", "--backend", "new"],
        ["vertex", "--backend", "2.14"],
    ):
        assert isinstance(run.invoke(command, [path, "--platform", *arguments]).exception, UsageError)


def test_compile_says_it(tmp_path: Path) -> None:
    path = str(tmp_path / "static.yaml")
    done = CliRunner().invoke(
        compile_, ["static", "--platform", "kubeflow", "--options", str(OPTIONS), "--output", path]
    )
    assert done.stdout == f"{path}\n"
    assert done.stderr == f"needs Kubeflow Pipelines {least_backend(path)}\n"
