"""Settings of dynamic training: checks, storage, and the parameters of runs that follow."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.day_spans import PROBLEM, problem_file

from headrace.components.deploy.canary.settings import CanarySettings
from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.state import EndpointState
from headrace.components.evaluate.contest.challenge import Challenge
from headrace.components.train.options import Budget, Options
from headrace.components.train.request import TrainingRequest
from headrace.core import storage
from headrace.core.errors import DataError, UsageError
from headrace.core.ledger.retries import Retries
from headrace.core.ledger.state import LedgerRun
from headrace.core.problem.file import load_problem
from headrace.pipelines.dynamic.arguments import arguments_of
from headrace.pipelines.dynamic.initialize import initialize
from headrace.pipelines.dynamic.settings import DIGESTS, DynamicSettings, change, read
from headrace.pipelines.lint.spec import read_spec
from headrace.pipelines.submission.place import PlatformLocation

PLATFORMS = Path(__file__).parents[1] / "platforms"


LIGHT = f"registry.example.com/headrace/light@sha256:{'7' * 64}"


def image(made: DynamicSettings, task: str) -> str:
    """The image of a task of the compiled pipeline."""
    return dict(read_spec(made.spec).containers())[f"exec-{task}"]["image"]


def settings(**given: Any) -> DynamicSettings:
    basis: dict[str, Any] = {
        "name": "days",
        "problem": "/root/problems/{digest}.json",
        "digests": dict.fromkeys(DIGESTS, "d" * 64),
        "root": "/root",
        "registry": "/root/registry/days",
        "endpoint": "/root/endpoints/days",
    }
    return DynamicSettings(**{**basis, **given})


AT_VERTEX: dict[str, Any] = {"platform": "vertex", "place": PlatformLocation("vertex")}
FULL: dict[str, Any] = {
    "csv": ("delimiter=;",),
    "last_spans": 30,
    "half_life": 7.0,
    "withdrawn": ("2026-01-01",),
    "training": TrainingRequest(overrides={"epochs": 3}, options=Options(budget=Budget(max_hours=30.0))),
    "from_scratch_every": 10,
    "challenge": Challenge(0.01, 0.02, 3),
    "canary": CanarySettings(steps=(5, 25), deadline_s=36000.0),
    "watch_by_ticks": True,
    "log_share": 0.5,
    "deadline_hours": 24.0,
    "training_share": 0.5,
    "announce": ("events", "https://hooks.example.com/x"),
    "attempts": 3,
    "retry_minutes": 5.0,
}


def test_json() -> None:
    place = PlatformLocation("vertex", options_file="options.toml", project="p", location="l")
    for one in (settings(), settings(**FULL), settings(platform="vertex", place=place)):
        assert DynamicSettings.from_json(json.loads(json.dumps(one.to_json())), "settings.json") == one
    # Each setting is stored.
    assert set(settings().to_json()) == {
        "kind",
        "format",
        *(field.name for field in dataclasses.fields(DynamicSettings)),
    }


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"name": ""}, "name is empty"),
        ({"root": 3}, "root is empty"),
        ({"digests": {}}, "the digests of the Problem are wrong"),
        ({"digests": list(DIGESTS)}, "the digests of the Problem are wrong"),
        ({"platform": "cloud"}, "platform is wrong"),
        ({"platform": "vertex"}, "the place is wrong"),
        ({"place": PlatformLocation("vertex")}, "the place is wrong"),
        ({"platform": "vertex", "place": PlatformLocation("kubeflow")}, "the place is of another platform"),
        ({"platform": "vertex", "place": PlatformLocation("vertex"), "canary": CanarySettings()}, "belong together"),
        ({"platform": "vertex", "place": PlatformLocation("vertex"), "traffic_log": "gs://b/t"}, "belong together"),
        (
            {"platform": "vertex", "place": PlatformLocation("vertex"), "log_share": 0.5},
            "the fraction that is logged is of",
        ),
        (
            {**AT_VERTEX, "canary": CanarySettings(minimum_replayed=1), "traffic_log": "gs://b/t"},
            "decided by replayed requests and its request log belong together",
        ),
        (
            {**AT_VERTEX, "canary": CanarySettings(), "traffic_log": "gs://b/t", "request_log": "gs://b/r"},
            "decided by replayed requests and its request log belong together",
        ),
        ({"request_log": "gs://b/r"}, "decided by replayed requests and its request log belong together"),
        ({"canary": CanarySettings(minimum_labelled=1)}, "a canary of dynamic training has no labels"),
        ({"watch_by_ticks": True}, "ticks have no canary to watch"),
        ({"csv": ("delimiter",)}, "--csv is wrong"),
        ({"last_spans": 3, "last_days": 3}, "the window has two limits"),
        ({"half_life": -1.0}, "half_life is wrong"),
        ({"withdrawn": ("a", "a")}, "withdrawn is wrong"),
        ({"announce": ("",)}, "announce is wrong"),
        ({"training": TrainingRequest(warm_start="model")}, "the warm start is chosen for each run"),
        ({"from_scratch_every": -1}, "from_scratch_every is wrong"),
        ({"log_share": 2.0}, "log_share is wrong"),
        ({"deadline_hours": -1.0}, "deadline_hours is wrong"),
        ({"training_share": 1.0}, "training_share is wrong"),
        ({"attempts": 0}, "attempts is wrong"),
        ({"retry_minutes": 0.0}, "retry_minutes is wrong"),
        ({"deadline_hours": 0.1, "canary": CanarySettings(minimum_step_s=100.0)}, "the canary does not fit"),
    ],
)
def test_what_is_refused(given: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        settings(**given)


def test_a_run_gets_what_the_settings_say() -> None:
    found = arguments_of(settings(**FULL), LedgerRun("days-1", 1, 1, ("a",)), 5.0)
    assert (found["run_id"], found["started"], found["name"]) == ("days-1", 5.0, "days")
    assert found["csv"] == '["delimiter=;"]'
    assert (found["last_spans"], found["withdrawn"], found["destinations"]) == (
        30,
        ["2026-01-01"],
        list(FULL["announce"]),
    )
    # Training ends within its half of the 24 hours, and the canary within the other.
    assert found["training"] == {"max_hours": 12.0, "epochs": 3}
    assert found["canary"]["deadline_s"] == 36000.0
    assert json.dumps(found)
    short = arguments_of(settings(**{**FULL, "deadline_hours": 10.0}), LedgerRun("days-1", 1, 1, ("a",)), 5.0)
    assert (short["training"]["max_hours"], short["canary"]["deadline_s"]) == (5.0, 18000.0)
    plain = arguments_of(settings(), LedgerRun("days-1", 1, 1, ("a",)), 5.0)
    assert (plain["training"], plain["canary"], plain["log_share"]) == ({}, {}, -1.0)


def test_retries() -> None:
    assert settings().retries == Retries()
    assert settings(retry_minutes=90.0).retries == Retries(5, timedelta(minutes=90), timedelta(minutes=90))


class TestStored:
    """Settings below a root."""

    def test_they_are_written_and_read(self, tmp_path: Path) -> None:
        made = initialize(problem_file(tmp_path).path, str(tmp_path / "root"), last_days=7)
        assert read(str(tmp_path / "root")) == made == read(made.folder) == read(made.uri)
        assert made.ledger.uri == str(tmp_path / "root" / "dynamic" / "days")

    def test_other_settings_are_replaced_on_request_alone(self, tmp_path: Path) -> None:
        problem, root = problem_file(tmp_path).path, str(tmp_path / "root")
        first = initialize(problem, root)
        assert initialize(problem, root) == first
        with pytest.raises(UsageError, match="the dynamic training exists, with other settings"):
            initialize(problem, root, last_days=7)
        assert read(root) == first
        assert read(root) != initialize(problem, root, last_days=7, replace_settings=True) == read(root)

    def test_what_was_withdrawn_stays_withdrawn(self, tmp_path: Path) -> None:
        problem, root = problem_file(tmp_path).path, str(tmp_path / "root")
        change(initialize(problem, root), lambda _: {"withdrawn": ("b", "a")})
        assert initialize(problem, root).withdrawn == ("b", "a")
        replaced = initialize(problem, root, last_days=7, replace_settings=True)
        assert (replaced.last_days, replaced.withdrawn) == (7, ("b", "a"))
        assert read(root) == replaced
        assert change(replaced, lambda _: {"withdrawn": ()}).withdrawn == ()

    def test_other_settings_that_are_refused_leave_the_compiled_pipeline(self, tmp_path: Path) -> None:
        problem, root, options = problem_file(tmp_path).path, str(tmp_path / "root"), tmp_path / "kubeflow.toml"
        options.write_text((PLATFORMS / "kubeflow.toml").read_text())
        place = PlatformLocation("kubeflow", options_file=str(options))
        made = initialize(problem, root, platform="kubeflow", place=place)
        Path(made.spec).unlink()
        assert initialize(problem, root, platform="kubeflow", place=place) == made
        files = [Path(made.spec), Path(made.folder, "options.toml"), Path(made.uri)]
        before = [file.read_bytes() for file in files]
        options.write_text(options.read_text().replace("sha256:1111", "sha256:9999"))
        with pytest.raises(UsageError, match="the dynamic training exists, with other settings"):
            initialize(problem, root, platform="kubeflow", place=place, last_days=7)
        assert [file.read_bytes() for file in files] == before
        initialize(problem, root, platform="kubeflow", place=place, last_days=7, replace_settings=True)
        assert all("sha256:9999" in file.read_text() for file in files[:2])

    def test_a_canary_at_a_service_needs_options_that_leave_the_decision_to_it(self, tmp_path: Path) -> None:
        problem, root, options = problem_file(tmp_path).path, str(tmp_path / "root"), tmp_path / "kubeflow.toml"
        place, canary = PlatformLocation("kubeflow", options_file=str(options)), CanarySettings(steps=(10, 50))
        whole = (PLATFORMS / "kubeflow.toml").read_text()

        def endpoint(*lines: str) -> None:
            options.write_text(whole.replace("traffic = 20", "\n".join(lines)))

        for lines in ((), ("traffic = 0",), ('traffic_log = "gs://b/traffic"',)):
            endpoint(*lines)
            with pytest.raises(UsageError, match="the options do not leave the decision to the canary"):
                initialize(problem, root, platform="kubeflow", place=place, canary=canary)
        endpoint("traffic = 0", 'traffic_log = "gs://b/traffic"')
        with pytest.raises(UsageError, match="nothing decides about it"):
            initialize(problem, root, platform="kubeflow", place=place)
        assert not Path(root, "dynamic").exists()
        made = initialize(problem, root, platform="kubeflow", place=place, canary=canary)
        assert (made.traffic_log, read(root)) == ("gs://b/traffic", made)
        assert "exec-renew" in Path(made.spec).read_text()

    @pytest.mark.parametrize("platform", ["vertex", "kubeflow"])
    def test_a_canary_that_replays_needs_the_request_log_of_the_options(
        self, tmp_path: Path, bucket: str, platform: str
    ) -> None:
        problem, root, options = problem_file(tmp_path).path, str(tmp_path / "root"), tmp_path / "options.toml"
        given: dict[str, Any] = {"platform": platform}
        given["place"] = PlatformLocation(platform, options_file=str(options))
        if platform == "vertex":
            root = f"gs://{bucket}/root"
        log = 'traffic = 0\ntraffic_log = "gs://b/traffic"\n'
        whole = (PLATFORMS / f"{platform}.toml").read_text().replace("traffic = 20\n", log)
        options.write_text(
            whole.replace('"champion"', '"challenger"').replace("[images]", f'[images]\nlight = "{LIGHT}"')
        )
        for setting in ({"minimum_replayed": 10}, {"maximum_differing": 0.1}):
            with pytest.raises(UsageError, match=r"require replayed requests.*request_log") as refused:
                initialize(problem, root, canary=CanarySettings(**setting), **given)
            assert refused.value.where == f"{options}, [{platform}.endpoint]"
        assert not storage.exists(storage.join(root, "dynamic"))
        made = initialize(problem, root, canary=CanarySettings(), **given)
        assert (made.request_log, image(made, "renew")) == ("", LIGHT)
        options.write_text(options.read_text().replace(log, f'{log}request_log = "gs://b/requests"\n'))
        made = initialize(problem, root, canary=CanarySettings(), **given, replace_settings=True)
        assert made.request_log == ""
        made = initialize(problem, root, canary=CanarySettings(minimum_replayed=10), **given, replace_settings=True)
        assert (made.request_log, read(root)) == ("gs://b/requests", made)
        # The tasks that take steps hold what loads both versions.
        assert {"/beam@" in image(made, task) for task in ("renew", "conclude")} == {True}
        assert {image(made, task) for task in ("claim", "announce")} == {LIGHT}
        assert storage.read_bytes(made.spec).count(b"gs://b/requests") >= 1

    def test_a_canary_on_this_machine_that_replays_needs_a_log(self, tmp_path: Path) -> None:
        problem, root = problem_file(tmp_path).path, str(tmp_path / "root")
        canary = CanarySettings(minimum_replayed=10)
        for share in (None, 0.0):
            with pytest.raises(UsageError, match=r"require replayed requests, and the endpoint logs none") as refused:
                initialize(problem, root, canary=canary, log_share=share)
            assert refused.value.where == "--request-log-share"
        assert not Path(root, "dynamic").exists()
        made = initialize(problem, root, canary=canary, log_share=0.5)
        # An endpoint that logs keeps its share.
        Path(made.endpoint).mkdir(parents=True)
        EndpointFolder(made.endpoint).write(EndpointState("days", "v1", None, log_share=0.5), None)
        assert initialize(problem, root, canary=canary, replace_settings=True).log_share is None
        # A canary cannot change the share of one that logs nothing.
        EndpointFolder(made.endpoint).write(EndpointState("days", "v1", None), EndpointFolder(made.endpoint).read())
        with pytest.raises(UsageError, match="the endpoint logs no requests"):
            initialize(problem, root, canary=canary, log_share=0.5, replace_settings=True)

    @pytest.mark.parametrize("root", ["hdfs://name/root", "bigquery://project.table.root"])
    def test_a_root_that_is_neither_on_a_disk_nor_in_a_bucket(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        file = problem_file(tmp_path)
        before = sorted(tmp_path.iterdir())
        with pytest.raises(UsageError, match=":// is not supported"):
            initialize(file.path, root)
        assert sorted(tmp_path.iterdir()) == before

    def test_an_edited_problem_counts_from_the_next_initialization(self, tmp_path: Path) -> None:
        file, root = problem_file(tmp_path), str(tmp_path / "root")
        made = initialize(file.path, root)
        Path(file.path).write_text(PROBLEM.replace("maximum=1000", "maximum=2000"))
        schema = made.digests["schema_digest"]
        assert load_problem(made.problem, digest=schema, part="schema").source == PROBLEM
        again = initialize(file.path, root, replace_settings=True)
        assert again.digests["schema_digest"] != schema

    def test_a_change_is_made_from_what_is_stored_now(self, tmp_path: Path) -> None:
        made = initialize(problem_file(tmp_path).path, str(tmp_path / "root"))
        change(made, lambda now: {"withdrawn": (*now.withdrawn, "a")})
        change(made, lambda now: {"withdrawn": (*now.withdrawn, "b")})
        assert read(made.uri).withdrawn == ("a", "b")
        with pytest.raises(UsageError):
            change(made, lambda _: {"attempts": 0})
        assert read(made.uri).attempts == 5

    def test_a_destination_that_is_not_valid(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="the destination of model events is not valid"):
            initialize(problem_file(tmp_path).path, str(tmp_path / "root"), announce=("ftp://x",))
        assert not (tmp_path / "root" / "dynamic").exists()

    def test_there_are_none_or_several(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        with pytest.raises(UsageError, match="the root has no dynamic training"):
            read(str(root))
        for name in ("days", "nights"):
            folder = tmp_path / name
            folder.mkdir()
            initialize(problem_file(folder, PROBLEM.replace('"days"', f'"{name}"')).path, str(root))
        with pytest.raises(UsageError, match="the root has several dynamic trainings") as refused:
            read(str(root))
        assert refused.value.received == "days, nights"
        assert read(str(root / "dynamic" / "nights")).name == "nights"

    def test_damaged_settings(self, tmp_path: Path) -> None:
        problem, root = problem_file(tmp_path).path, str(tmp_path / "root")
        made = initialize(problem, root)
        Path(made.uri).write_text('{"kind": "DynamicSettings"}')
        with pytest.raises(DataError, match="the settings are damaged"):
            read(made.uri)
        assert initialize(problem, root, replace_settings=True) == read(made.uri) == made

    def test_a_folder_that_holds_something_else(self, tmp_path: Path) -> None:
        there = tmp_path / "root" / "dynamic" / "days"
        there.mkdir(parents=True)
        (there / "notes.txt").write_text("mine")
        with pytest.raises(UsageError, match="already holds something else"):
            initialize(problem_file(tmp_path).path, str(tmp_path / "root"))
