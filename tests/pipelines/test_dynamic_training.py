"""The pipeline of dynamic training: one chain under an exit task, for each platform."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.pipelines.compiler import compile_to
from headrace.pipelines.lint.check import lint
from headrace.pipelines.lint.spec import Spec, read_spec
from headrace.pipelines.platforms.images import role_of

HERE = Path(__file__).parent
PLATFORMS = ("local", "vertex", "kubeflow")
CHAIN = ("claim", "ingest", "lineage", "train", "evaluate", "register", "deploy", "announce")


@pytest.fixture(scope="module", params=PLATFORMS)
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A platform, and its spec."""
    platform: str = request.param
    path = tmp_path_factory.mktemp("specs") / f"{platform}.yaml"
    options = "" if platform == "local" else str(HERE / "platforms" / f"{platform}.toml")
    compile_to("dynamic", platform, str(path), options_file=options)
    return platform, path


@pytest.fixture
def spec(compiled: tuple[str, Path]) -> Spec:
    return read_spec(str(compiled[1]))


def test_the_golden_file(compiled: tuple[str, Path]) -> None:
    """Changed on purpose? `tests/pipelines/golden/renew.sh`, and read the diff."""
    platform, path = compiled
    golden = HERE / "golden" / f"dynamic_training_{platform}.yaml"
    found, expected = (list(yaml.safe_load_all(one.read_text())) for one in (path, golden))
    for documents in (found, expected):
        documents[0].pop("sdkVersion", None)
        if platform == "local":
            _without_images(documents[0])
    assert found == expected


def _without_images(document: dict[str, Any]) -> None:
    for executor in document["deploymentSpec"]["executors"].values():
        executor["container"].pop("image")


def test_the_lint_finds_nothing(compiled: tuple[str, Path]) -> None:
    platform, path = compiled
    if platform != "local":
        assert lint(str(path), platform) == []


def test_one_chain_without_loops_and_choices(spec: Spec) -> None:
    tasks = {task.where.rsplit(".", 1)[-1]: task for task in spec.tasks()}
    roles = [role_of(name) for name, task in tasks.items() if "executorLabel" in task.component]
    assert sorted(roles) == sorted([*CHAIN, "conclude"])
    assert not any(task.in_loop for task in tasks.values())
    assert "oneof" not in str(spec.pipeline).lower()


def test_what_has_effects_is_never_cached(spec: Spec) -> None:
    cached = {
        role_of(name)
        for task in spec.tasks()
        if "executorLabel" in task.component
        and task.spec.get("cachingOptions", {}).get("enableCache")
        and (name := task.where.rsplit(".", 1)[-1])
    }
    assert cached == {"ingest", "train", "evaluate"}


def test_each_effect_checks_the_claim(spec: Spec) -> None:
    for task in spec.tasks():
        name = task.where.rsplit(".", 1)[-1]
        if "executorLabel" in task.component and role_of(name) in ("lineage", "register", "deploy", "announce"):
            assert "claim" in task.spec["inputs"]["parameters"], name


def test_the_holder_is_the_platforms_execution(spec: Spec) -> None:
    holders = {
        task.component_name: task.spec["inputs"]["parameters"]["holder"]["runtimeValue"]["constant"]
        for task in spec.tasks()
        if "holder" in task.spec.get("inputs", {}).get("parameters", {})
    }
    assert holders == dict.fromkeys(("comp-claim", "comp-conclude"), "{{$.pipeline_job_uuid}}")
