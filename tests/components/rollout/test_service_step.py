"""Steps of a pipeline at Vertex AI and KServe whose decision reads requests that both versions scored again."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl
from peers.vertex.service import PARENT
from support.endpoint_kinds import A, B
from support.ledgers import arrival, claimed
from support.replay_story import ReplayStory, replay_story

from headrace.components.rollout import service_step
from headrace.components.rollout.renewal import renew
from headrace.components.rollout.service import advance

NAMES = {"vertex": f"{PARENT}/endpoints/natality", "kserve": "kserve://models/natality"}
# An engine makes floats of whole numbers.
SETTINGS: dict[str, Any] = {"steps": [10.0, 50.0], "minimum_requests": 200.0, "minimum_replayed": 30.0}
PROBLEM = """
from headrace import Categorical, Numeric, Problem

problem = Problem(
    name="natality",
    key="record_id",
    label=Numeric("weight_pounds"),
    features=[Numeric("mother_age"), Categorical("plurality")],
)
"""

Begin = Callable[..., "Step"]


class Step:
    """The task of a pipeline, which a schedule starts again and again."""

    def __init__(self, kind: str, story: ReplayStory, folder: Path) -> None:
        self.story = story
        self.served = story.told.case.served
        self._endpoint, self._folder = NAMES[kind], folder

    def run(self, settings: Mapping[str, Any], **options: str) -> str:
        done = dsl.Artifact(uri=str(self._folder / "done"))
        given: dict[str, Any] = {"request_log": self.story.log, **options}
        return service_step.run(self._endpoint, B, self.story.told.folder, "", settings, "", False, "", done, **given)

    def renew(self, settings: Mapping[str, Any], claim: Mapping[str, Any], **options: str) -> bool:
        case, done = self.story.told.case, dsl.Artifact(uri=str(self._folder / "done"))
        model = dsl.Model(uri=case.registry.path(B))
        given: dict[str, Any] = {"request_log": self.story.log, **options}
        where = (self._endpoint, self.story.told.folder, case.registry.where, "")
        return service_step.renewal(model, *where, settings, claim, done, **given)

    def reasons(self) -> str:
        return " ".join(json.loads((self._folder / "done").read_text())["reasons"])


@pytest.fixture
def begin(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Begin:
    """Begins the story of an endpoint whose task knows its time."""

    def begun(kind: str, **options: Any) -> Step:
        story = replay_story(kind, request, tmp_path, **options)
        for name, real in (("advance", advance), ("renew", renew)):
            monkeypatch.setattr(service_step, name, functools.partial(real, now=lambda: story.told.now))
        if kind == "kserve":
            # There is no cluster to be asked by its client.
            monkeypatch.setattr(service_step, "open_service", lambda *_, **__: story.told.case.open())
        return Step(kind, story, tmp_path)

    return begun


def at_last_step(step: Step, settings: Mapping[str, Any], **options: str) -> None:
    for percent in (10, 50):
        assert step.run(settings, **options) == "under way"
        assert step.served() == {A: 100 - percent, B: percent}
        step.story.told.requests()


@pytest.mark.parametrize("kind", NAMES)
def test_it_is_promoted_once_enough_rows_are_replayed(begin: Begin, kind: str) -> None:
    step = begin(kind)
    settings = {**SETTINGS, "maximum_differing": 0.05}
    at_last_step(step, settings)
    assert step.run(settings) == "under way"
    assert "0 of 30 logged rows are replayed." in step.reasons()
    assert step.story.log_requests(10) == 30
    step.story.told.requests()
    assert step.run(settings) == "promoted"
    assert (step.served(), step.story.told.case.registry.aliases()["champion"]) == ({B: 100}, B)


@pytest.mark.parametrize("kind", NAMES)
def test_it_is_rolled_back_if_its_predictions_differ(begin: Begin, kind: str) -> None:
    step = begin(kind, canary_bias=1.5)
    settings = {**SETTINGS, "maximum_differing": 0.05}
    assert step.run(settings) == "under way"
    step.story.log_requests(10)
    step.story.told.requests()
    with pytest.raises(SystemExit) as ended:
        step.run(settings)
    assert (ended.value.code, step.served()) == (3, {A: 100})
    assert "differ" in step.reasons()
    assert step.story.told.case.registry.state().versions[B].status == "bad"


def test_labels_decide_too(begin: Begin, tmp_path: Path) -> None:
    step = begin("vertex")
    labels, problem = tmp_path / "labels.csv", tmp_path / "problem.py"
    labels.write_text("record_id,weight_pounds\na,6.5\nb,3.8\n")
    problem.write_text(PROBLEM)
    options = {"labels": str(labels), "problem": str(problem)}
    settings = {**SETTINGS, "minimum_replayed": 3.0, "minimum_labelled": 2.0}
    at_last_step(step, settings, **options)
    assert step.run(settings, **options) == "under way"
    assert "0 of 2 rows have labels." in step.reasons()
    step.story.log_requests(1)
    step.story.told.requests()
    assert step.run(settings, **options) == "promoted"


@pytest.mark.parametrize(
    ("settings", "options", "what"),
    [
        ({"minimum_replayed": 1.0}, {"request_log": ""}, "the settings of the canary require replayed requests"),
        ({"maximum_differing": 0.1}, {"request_log": ""}, "the settings of the canary require replayed requests"),
        ({"minimum_labelled": 1.0}, {}, "the settings of the canary require labelled rows"),
        ({}, {"labels": "labels.csv"}, "labels need the Problem, and a request log"),
    ],
)
def test_what_a_replay_lacks_is_refused_before_any_work(
    begin: Begin, capfd: pytest.CaptureFixture[str], settings: dict[str, float], options: dict[str, str], what: str
) -> None:
    step = begin("vertex")
    with pytest.raises(SystemExit) as ended:
        step.run(settings, **options)
    assert (ended.value.code, what in capfd.readouterr().out) == (2, True)
    assert (step.served(), "challenger" in step.story.told.case.registry.aliases()) == ({A: 100}, False)


@pytest.mark.parametrize("kind", NAMES)
def test_a_renewal_replays_where_its_settings_require_it(
    begin: Begin, tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    step = begin(kind)
    claim = claimed(str(tmp_path / "ledger"), [arrival(0)]).to_json()
    with pytest.raises(SystemExit) as ended:
        step.renew(SETTINGS, claim, request_log="")
    assert (ended.value.code, step.served()) == (2, {A: 100})
    assert "the settings of the canary require replayed requests" in capfd.readouterr().out
    # A task that the platform tries again continues the canary.
    for percent in (10, 50):
        assert not step.renew(SETTINGS, claim)
        assert step.served() == {A: 100 - percent, B: percent}
        step.story.told.requests()
    assert not step.renew(SETTINGS, claim)
    assert "0 of 30 logged rows are replayed." in step.reasons()
    step.story.log_requests(10)
    step.story.told.requests()
    assert step.renew(SETTINGS, claim)
    assert step.served() == {B: 100}
