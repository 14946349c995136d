"""Models found in Vertex AI's Model Registry by name, version or alias: real requests of the SDK to a test server."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from peers.vertex.server import VertexServer
from peers.vertex.service import PARENT

from headrace.components.registry.vertex import lookup
from headrace.components.registry.vertex.lookup import find, full_name, place_of
from headrace.components.registry.vertex.register import description_of
from headrace.components.summarize import step as summarize
from headrace.core import storage
from headrace.core.errors import DataError, UsageError
from headrace.core.problem.file import load_problem
from headrace.core.steps import identity
from headrace.core.steps.step import read_record

REGISTRY = f"{PARENT}/models/natality"
FIRST, SECOND = "a" * 16, "0123456789abcdef"
PROBLEM = str(Path(__file__).parents[4] / "examples" / "natality" / "natality.py")


@pytest.fixture
def server(vertex_server: VertexServer) -> VertexServer:
    vertex_server.be_asked_from_here()
    return vertex_server


@pytest.fixture
def models(server: VertexServer, bucket: str, put: Callable[[str, bytes], str]) -> dict[str, str]:
    """Two versions in the registry, of which the second is the champion: where each is, by its version."""
    places = {}
    for version in (FIRST, SECOND):
        file = put(f"{version}/training.json", f'{{"model_version": "{version}"}}'.encode())
        put(f"{version}/saved_model/saved_model.pb", b"")
        label = {"kind": "Numeric", "name": "weight"}
        put(f"{version}/problem.json", json.dumps({"label": label, "features": [{**label, "name": "age"}]}).encode())
        put(f"{version}/schema.json", b'{"columns": []}')
        places[version] = file.removesuffix("/training.json")
        server.upload(
            places[version],
            model_id="" if version == SECOND else "natality",
            parent=REGISTRY if version == SECOND else "",
            versionAliases=["champion"],
            versionDescription=description_of(version),
        )
    return places


def test_what_names_a_model(models: dict[str, str]) -> None:
    for text, version, number in (
        ("champion", SECOND, 2),
        ("1", FIRST, 1),
        (SECOND, SECOND, 2),
        (FIRST, FIRST, 1),
        # Its default version.
        (REGISTRY, FIRST, 1),
        (f"{REGISTRY}@champion", SECOND, 2),
        (f"{REGISTRY}@1", FIRST, 1),
    ):
        found = find(full_name(text, REGISTRY))
        assert (found.name, found.uri) == (f"{REGISTRY}@{number}", models[version]), text


@pytest.mark.parametrize("text", ["", "gs://bucket/model", "/gcs/bucket/model"])
def test_a_place_is_a_place(server: VertexServer, text: str) -> None:
    assert (place_of(text, REGISTRY), server.requests) == (text, [])


@pytest.mark.parametrize(
    ("text", "registry"), [("models/natality", REGISTRY), ("champion", "out/registry"), ("a b", REGISTRY)]
)
def test_what_names_none(text: str, registry: str) -> None:
    with pytest.raises(UsageError, match="is not a model in Vertex AI's Model Registry"):
        full_name(text, registry)


def test_a_name_that_there_is_not_says_how_to_look(models: dict[str, str]) -> None:
    for which in ("challenger", "7", "f" * 16):
        with pytest.raises(UsageError, match="the model does not exist") as caught:
            find(full_name(which, REGISTRY))
        assert "gcloud ai models list-version natality --region=us-central1" in caught.value.text


def test_a_registry_that_may_not_be_read(models: dict[str, str], server: VertexServer) -> None:
    server.fail("GET .*/models/", 403, times=100)
    with pytest.raises(UsageError, match="access is denied"):
        find(f"{REGISTRY}@1")


def test_a_model_without_files(server: VertexServer) -> None:
    server.upload("", model_id="empty")
    with pytest.raises(DataError, match="has no URI of the model's files"):
        find(f"{PARENT}/models/empty")


def test_batch_scoring_is_told_the_model_and_its_name(models: dict[str, str], tmp_path: Path) -> None:
    told = lookup.champion(REGISTRY, str(tmp_path), "")
    assert told == (models[SECOND], f"{REGISTRY}@2", "", "")
    record = read_record(str(tmp_path), "champion", identity.champion_identity(REGISTRY, ""))
    assert record is not None
    assert record["result"] == {"version": SECOND, "registered": f"{REGISTRY}@2", "data_version": ""}


def test_training_is_told_paths_that_its_jobs_see(models: dict[str, str], bucket: str, tmp_path: Path) -> None:
    training = {"warm_start": f"{REGISTRY}@1", "max_hours": 2}
    told = lookup.resolve(REGISTRY, str(tmp_path), "champion", training, data_version="v1")
    found = {"warm_start": f"/gcs/{bucket}/{FIRST}", "warm_start_version": FIRST, "max_hours": 2.0}
    assert told == (f"/gcs/{bucket}/{SECOND}", found, "v1", "v1")
    assert lookup.resolve(REGISTRY, str(tmp_path), "", {}) == ("", {}, "", "")
    again = [lookup.resolve(REGISTRY, str(tmp_path), "", {}, "x", "v1", cache=False) for _ in range(2)]
    assert [one[2] for one in again] == ["v1", "v1"]
    assert again[0][3] != again[1][3]


def test_the_summary_follows_what_the_names_meant(models: dict[str, str], tmp_path: Path) -> None:
    root = str(tmp_path)
    facts = summarize.RunFacts(
        pipeline="static-training",
        run_id="natality-1",
        job="pipelineJobs/1",
        started=0.0,
        problem=PROBLEM,
        problem_digest=load_problem(PROBLEM).digest,
        data="births.csv",
        data_version="v1",
        champion="champion",
        root=root,
        registry=REGISTRY,
        endpoint="endpoint",
        training={"warm_start": "1"},
        resolved=True,
    )
    file = load_problem(PROBLEM)
    unknown = {step["step"]: step for step in summarize.collect(facts, file)}
    assert (unknown["resolve"]["status"], unknown["train"]["identity"]) == ("skipped", "")
    lookup.resolve(REGISTRY, root, "champion", {"warm_start": "1"}, "births.csv", "v1")
    steps = {step["step"]: step for step in summarize.collect(facts, file)}
    assert steps["resolve"]["status"] == "succeeded"
    by_place = dataclasses.replace(
        facts,
        registry=root,
        champion=models[SECOND],
        training={"warm_start": models[FIRST]},
        resolved=False,
    )
    expected = {step["step"]: step["identity"] for step in summarize.collect(by_place, file)}
    assert {name: step["identity"] for name, step in steps.items() if name in ("train", "evaluate")} == {
        name: expected[name] for name in ("train", "evaluate")
    }
    # Another run's answer says nothing of what the alias means in this one.
    later = dataclasses.replace(facts, started=1e12)
    assert summarize.collect(later, file)[0]["status"] == "skipped"
    assert storage.exists(f"{models[FIRST]}/training.json")
