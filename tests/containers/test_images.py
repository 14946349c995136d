"""What is in the images, and what is not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from peers.container_engine import ROOT, Engine, load_build

from headrace.core.steps.identity import release

# An image is built at its first use, which takes minutes where the engine has no layer of it.
pytestmark = pytest.mark.timeout(3600)

MADE = ("beam", "trainer", "server", "stream")
_LABEL = "org.opencontainers.image."


@pytest.mark.parametrize("name", MADE)
def test_an_image_runs_as_a_numeric_user_without_rights(engine: Engine, image: Callable[..., str], name: str) -> None:
    assert engine.config(image(name))["User"] == "65532:65532"
    said = engine.shell(image(name), "id -u; id -g; touch /opt/headrace/x /x; touch $HOME/x /tmp/x && echo written")
    assert said.stdout.split() == ["65532", "65532", "written"]
    assert said.stderr.count("Permission denied") == 2


@pytest.mark.parametrize("name", MADE)
def test_an_image_says_what_it_was_made_of(engine: Engine, image: Callable[..., str], name: str) -> None:
    build = load_build()
    labels = engine.config(image(name))["Labels"]
    assert labels[_LABEL + "title"] == f"headrace/{name}"
    assert labels[_LABEL + "version"] == build.version()
    assert labels[_LABEL + "revision"] == build.revision()
    assert labels[_LABEL + "licenses"] == "Apache-2.0"
    assert labels[_LABEL + "description"]


@pytest.mark.parametrize("name", MADE)
def test_an_image_holds_no_compilers_caches_or_index(engine: Engine, image: Callable[..., str], name: str) -> None:
    tag = image(name)
    looked = (
        "for tool in gcc g++ cc c++ ld make git curl; do command -v $tool; done;"
        "ls -Ad /opt/headrace/bin/pip* /root/.cache /home/headrace/.cache /build /tmp/* 2>/dev/null;"
        "ls -d /opt/headrace/lib/python3.*/site-packages/tensorflow/include 2>/dev/null;"
        "find /opt /home /root /tmp -name '*.whl'"
    )
    assert engine.shell(tag, f"{looked}; true", user="0:0").stdout.split() == []
    assert not [said for said in engine.config(tag)["Env"] if said.startswith("PIP_")]
    assert "PIP_INDEX_URL" not in engine("history", "--no-trunc", tag)
    print(f"{tag}: {load_build().size_mb(engine.command, tag):,} MB unpacked, with its base")


@pytest.mark.parametrize("name", MADE)
def test_what_is_installed_is_what_was_pinned_and_this_tree(
    engine: Engine, image: Callable[..., str], name: str
) -> None:
    program = (
        "import json; from importlib import metadata; from headrace.core.steps.identity import release;"
        "print(json.dumps([release(), {d.name: d.version for d in metadata.distributions(path=['"
        "/opt/headrace/lib/python3.11/site-packages'])}]))"
    )
    ended = engine.run(image(name), ["-c", program], options=["--entrypoint", "python"])
    assert ended.status == 0, ended.stderr
    its_release, installed = json.loads(ended.stdout)
    # The same digest of the components' sources as here: the wheel lacks no module, and has no other.
    assert its_release == release()
    assert installed.pop("headrace") == load_build().version()
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
    )
    pinned = {_normal(name): version for name, version in pins.items()}
    assert {_normal(name): version for name, version in installed.items()}.items() <= pinned.items()


@pytest.mark.parametrize("name", MADE)
def test_what_is_written_in_c_was_compiled(engine: Engine, image: Callable[..., str], name: str) -> None:
    listed = engine.shell(image(name), "ls /opt/headrace/lib/python3.*/site-packages/headrace/core/tfrecord/")
    assert [file for file in listed.stdout.split() if file.startswith("_native")]
    if name != "beam":
        return
    program = "from headrace.core.tfrecord import native; print(native.library() is not None)"
    ended = engine.run(image(name), ["-c", program], options=["--entrypoint", "python"])
    assert (ended.status, ended.stdout.strip()) == (0, "True"), ended.stderr


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("name", ["beam", "trainer"])
def test_an_image_of_tasks_runs_the_command_that_a_task_brings(
    engine: Engine, image: Callable[..., str], name: str
) -> None:
    config = engine.config(image(name))
    assert not config.get("Entrypoint")
    assert config["Cmd"] == ["headrace", "--help"]
    ended = engine.run(image(name), ["headrace", "--version"])
    assert (ended.status, ended.stdout) == (0, f"headrace, version {load_build().version()}\nC code: used\n")


def test_an_error_keeps_its_exit_status(engine: Engine, image: Callable[..., str]) -> None:
    asked = ["headrace", "preprocess", "--problem", "nowhere.py", "--data", "x.csv", "--output", "out"]
    ended = engine.run(image("beam"), asked)
    assert ended.status == 2
    assert "nowhere.py" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("name", "modules"),
    [
        (
            "beam",
            [
                *(f"headrace.components.{step}.step" for step in ("claim", "ingest", "lineage", "announce", "tick")),
                "headrace.components.ingest.ingest",
                "headrace.components.summarize.dynamic.step",
                "headrace.pipelines.dynamic.tick",
                "headrace.pipelines.dynamic.submitted_runs",
                # A step of a canary, its replay and its labels.
                "headrace.components.rollout.service_step",
                "headrace.components.deploy.canary.labels",
                "headrace.components.deploy.vertex.vertex_endpoint",
                "headrace.components.deploy.kserve.kserve_endpoint",
                *("headrace.core.scoring.online.model", "headrace.core.saved_model.loaded"),
                # Destinations of announcements.
                *("confluent_kafka", "google.cloud.pubsub_v1"),
            ],
        ),
        ("trainer", ["headrace.components.evaluate.step", "headrace.components.evaluate.evaluator"]),
        ("stream", ["headrace.components.stream.kafka.run", "headrace.core.scoring.online.model", "confluent_kafka"]),
    ],
)
def test_an_image_holds_what_its_newer_tasks_import(
    engine: Engine, image: Callable[..., str], name: str, modules: list[str]
) -> None:
    program = f"import importlib; [importlib.import_module(name) for name in {modules!r}]; print('all')"
    ended = engine.run(image(name), ["-W", "ignore", "-c", program], options=["--entrypoint", "python"])
    assert (ended.status, ended.stdout) == (0, "all\n"), ended.stderr


def test_the_image_of_streams_runs_its_scorer(engine: Engine, image: Callable[..., str]) -> None:
    ended = engine.run(image("stream"), ["--bootstrap", "127.0.0.1:1", "--route", "x"])
    assert ended.status == 2
    assert "Traceback" not in ended.stderr
