"""A search on Vertex AI: the compiled tasks, in their order, against the test server: from the Problem to a Model."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from peers.pipeline_engine import Call, TaskFailed
from peers.vertex.launchers import Launching
from peers.vertex.server import VertexServer, serving
from peers.vertex.service import LOCATION, PROJECT
from support.vertex_search import KIND, Search

from headrace.components.train.request import TrainingRequest
from headrace.components.tune.identity import step_identity
from headrace.components.tune.vertex.trial import model_uri
from headrace.core import storage
from headrace.core.steps.step import read_record
from headrace.pipelines.compiler import compile_to

NATALITY = Path(__file__).parents[3] / "examples" / "natality" / "natality.py"
TUNING = (
    'tuning=Tuning({"learning_rate": Range(1e-3, 1e-1, log=True), "hidden_units": Choice([[8], [8, 4]]),'
    ' "batch_size": Range(16, 64, step=16)}, trials=4),'
)


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("problem") / "tuned.py"
    text = NATALITY.read_text().replace("import Categorical,", "import Categorical, Choice, Range, Tuning,")
    path.write_text(text.replace("    training=", f"    {TUNING}\n    training="))
    return path


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Tuned training, compiled for the test server's project and region."""
    return compiled(tmp_path_factory.mktemp("spec"))


def compiled(folder: Path, *, spot: str = "spot = true") -> dict[str, Any]:
    text = Path(__file__).with_name("vertex.toml").read_text().replace("spot = true", spot)
    text = text.replace("my-project", PROJECT).replace("europe-west1", LOCATION)
    (folder / "vertex.toml").write_text(f"{text}\n[vertex.tuning]\nmax_failed_trials = 3\n")
    compile_to("tuned", "vertex", str(folder / "tuned.yaml"), options_file=str(folder / "vertex.toml"))
    loaded: dict[str, Any] = yaml.safe_load((folder / "tuned.yaml").read_text())
    return loaded


@pytest.fixture
def server() -> Iterator[VertexServer]:
    with serving() as running:
        running.be_asked_from_here()
        yield running


@pytest.fixture
def search(
    spec: dict[str, Any],
    problem: Path,
    server: VertexServer,
    launching: Launching,
    bucket: str,
    tmp_path: Path,
) -> Search:
    return Search(spec, problem, server, launching.of(server, tmp_path), f"gs://{bucket}/headrace", tmp_path)


def test_the_best_trials_model_is_the_pipelines_model(search: Search) -> None:
    engine = search.run(parallel=2)
    assert engine.state == "succeeded"
    job = search.job
    assert (job.max_trial_count, job.parallel_trial_count, job.max_failed_trial_count) == (4, 2, 3)
    assert {trial.state.name for trial in job.trials} == {"SUCCEEDED"}
    losses = {int(trial.id): trial.final_measurement.metrics[0].value for trial in job.trials}
    best = min(losses, key=lambda number: losses[number])
    model = engine.tasks["best"].artifacts["model"]["uri"]
    published = storage.read_json(f"{model}/training.json")
    assert published["model_version"] == f"{best:016x}"
    told = published["tuning"]
    assert (told["search"], told["trial"]) == (search.search, best)
    assert told["parameters"] == {**told["parameters"], "learning_rate": published["learning_rate"]}
    assert [(one["number"], one["state"], one["eval_loss"]) for one in told["trials"]] == [
        (number, "complete", losses[number]) for number in (1, 2, 3, 4)
    ]
    # The same record as a search on this machine leaves, for the run's summary.
    record = search.record()
    assert (record["status"], record["result"]["model_version"]) == ("succeeded", f"{best:016x}")
    assert record["result"]["trials"] == {"complete": 4, "pruned": 0, "failed": 0, "unfinished": 0}
    # Of the trials' own Models the best one's is kept.
    folder = str(job.trial_job_spec.base_output_directory.output_uri_prefix)
    assert folder == f"{search.root}/searches/{search.search}"
    assert [storage.exists(model_uri(folder, number)) for number in losses] == [one == best for one in losses]


def test_the_job_is_as_the_options_say(search: Search) -> None:
    search.run()
    job = search.job
    assert job.display_name == "headrace-tune"
    assert dict(job.labels) == {
        "headrace-step": "tune",
        "headrace-search": search.search,
        "team": "growth",
        "vertex-ai-pipelines-run-billing-id": "42",
    }
    study = job.study_spec
    assert [(metric.metric_id, metric.goal.name) for metric in study.metrics] == [("eval_loss", "MINIMIZE")]
    rate, units, size = study.parameters
    assert (rate.double_value_spec.min_value, rate.double_value_spec.max_value) == (0.001, 0.1)
    assert (rate.parameter_id, rate.scale_type.name) == ("learning_rate", "UNIT_LOG_SCALE")
    assert list(units.categorical_value_spec.values) == ["[8]", "[8, 4]"]
    assert list(size.discrete_value_spec.values) == [16.0, 32.0, 48.0, 64.0]
    # By epochs would be the other way; the launcher takes a field that is false out of the request.
    assert study.median_automated_stopping_spec.use_elapsed_duration is True
    assert study.measurement_selection_type.name == "BEST_MEASUREMENT"
    trial = job.trial_job_spec
    assert (trial.scheduling.strategy.name, trial.scheduling.timeout.total_seconds()) == ("SPOT", 12 * 3600)
    assert trial.scheduling.restart_job_on_worker_restart
    assert trial.service_account == f"headrace@{PROJECT}.iam.gserviceaccount.com"
    assert trial.network == "projects/123456789/global/networks/training"
    assert [pool.replica_count for pool in trial.worker_pool_specs] == [1, 2]
    for pool in trial.worker_pool_specs:
        assert pool.container_spec.image_uri.startswith("europe-docker.pkg.dev/demo-project/headrace/trainer-gpu@sha")
        assert (pool.machine_spec.machine_type, pool.machine_spec.accelerator_count) == ("g2-standard-24", 2)
    # The trial's command is whole: what the pipeline tells it went through JSON within JSON.
    python, by_name, module, *arguments = search.commands[0]
    assert [python, by_name, module] == ["python3", "-m", "headrace.components.tune.vertex.trial"]
    told = json.loads(arguments[arguments.index("--executor_input") + 1])
    assert told["inputs"]["parameterValues"]["tuning_digest"] == search.file.tuning_digest
    assert told["inputs"]["artifacts"]["examples"]["artifacts"][0]["uri"] == str(search.examples)
    assert "--batch_size=32" in arguments
    assert "--hidden_units=[8, 4]" in arguments


@pytest.mark.parametrize(
    ("spot", "strategy", "wait", "resource"),
    [
        ("flex_start = true\nmax_wait_hours = 2.0", "FLEX_START", 7200, ""),
        ('persistent_resource = "gpus-1"', "STANDARD", None, "gpus-1"),
    ],
)
def test_trials_run_on_machines_from_a_queue_or_a_persistent_resource(
    problem: Path,
    server: VertexServer,
    launching: Launching,
    bucket: str,
    tmp_path: Path,
    spot: str,
    strategy: str,
    wait: int | None,
    resource: str,
) -> None:
    spec = compiled(tmp_path, spot=spot)
    search = Search(spec, problem, server, launching.of(server, tmp_path), f"gs://{bucket}/headrace", tmp_path)
    assert search.run().state == "succeeded"
    trial = search.job.trial_job_spec
    waits = trial.scheduling.max_wait_duration.total_seconds() if "max_wait_duration" in trial.scheduling else None
    assert (trial.scheduling.strategy.name, waits, trial.persistent_resource_id) == (strategy, wait, resource)


def test_trials_that_fail_or_are_stopped_leave_the_choice_to_the_others(search: Search) -> None:
    # By the learning rates that the server chooses, trial 3 would be the best, and 2 the next.
    search.ended = {3: "stopped", 1: "failed", 4: "killed"}
    assert search.run().state == "succeeded"
    told = search.record()["result"]
    assert told["trial"] == 2
    assert told["trials"] == {"complete": 1, "pruned": 1, "failed": 2, "unfinished": 0}


def test_a_trial_that_could_not_report_is_chosen_by_its_record(search: Search) -> None:
    # By the learning rates that the server chooses, trial 4 is the best.
    search.ended = {4: "unheard"}
    assert search.run().state == "succeeded"
    assert {int(one.id): one.state.name for one in search.job.trials}[4] == "INFEASIBLE"
    told = search.record()["result"]
    assert (told["trial"], told["trials"]["complete"]) == (4, 4)


def test_a_search_of_which_no_trial_could_report_is_not_the_platforms_fault(search: Search) -> None:
    search.ended = dict.fromkeys(range(1, 5), "unheard")
    assert search.run().state == "failed"
    error = search.record()["error"]
    assert (error["exit_status"], error["received"]) == (2, "4 complete")
    assert error["what"] == "trials were complete, but Vertex AI received no metric and ended the search"
    assert "TRAINER_USER=0:0" in error["fix"]


def test_a_search_of_which_every_trial_fails_says_what_the_trials_said(search: Search) -> None:
    search.ended = dict.fromkeys(range(1, 5), "failed")
    engine = search.run()
    assert engine.state == "failed"
    assert [engine.tasks[name].state for name in ("tune", "best")] == ["failed", "failed"]
    assert "evaluate" not in engine.tasks
    assert search.job.state.name == "JOB_STATE_FAILED"
    record = search.record()
    assert (record["status"], record["error"]["exit_status"]) == ("failed", 2)
    assert record["error"]["what"] == "every trial failed"
    assert "step 7: the loss is not finite" in record["error"]["received"]


def test_a_job_that_fails_late_is_the_platforms_fault(search: Search) -> None:
    from peers.vertex.resources import Refusal

    def out_of_machines(_: Any) -> None:
        raise Refusal(429, "RESOURCE_EXHAUSTED", "no NVIDIA_L4 is to be had.")

    search.server.vertex.work[KIND] = out_of_machines
    assert search.run().state == "failed"
    error = search.record()["error"]
    assert error["exit_status"] == 75
    assert error["what"] == "the search failed (failed)"
    assert error["where"] == search.job.name
    assert error["received"].startswith("no NVIDIA_L4 is to be had; 4 complete; started at 20")


def test_a_job_that_somebody_cancels_half_way(search: Search) -> None:
    polls: list[int] = []

    def cancelling(job: Any) -> bool:
        polls.append(1)
        done = search.trials(job)
        if len(polls) == 4:
            search.server.vertex.handle("POST", f"{job.name}:cancel", {}, b"{}")
        return done

    search.server.vertex.running[KIND] = cancelling
    assert search.run(parallel=1).state == "failed"
    error = search.record()["error"]
    assert (error["exit_status"], error["what"]) == (75, "the search was cancelled")
    assert error["received"].startswith("CANCELLED; 1 complete, 1 unfinished; started at 20")


@pytest.mark.parametrize(("code", "after"), [(429, False), (503, True)])
def test_a_service_that_does_not_take_the_job_is_asked_again_by_the_tasks_retry(
    search: Search, code: int, after: bool
) -> None:
    def twice(call: Call) -> Mapping[str, Any]:
        with pytest.raises(TaskFailed):
            search.launch(call)
        return search.launch(call)

    search.server.fail(rf"POST .*/{KIND}$", code, after=after)
    search.do.by_task["tune"] = twice
    assert search.run().state == "succeeded"
    made = [name for name in search.server.vertex.resources if KIND in name]
    # Of an answer that was lost nobody knows the job; the next attempt makes another, and that one is looked at.
    assert len(made) == (2 if after else 1)
    assert search.record()["status"] == "succeeded"


def test_a_service_that_takes_no_job_at_all(search: Search) -> None:
    search.run(trials=1, parallel=1)
    # Of another run of the pipeline the launcher knows nothing.
    (search.scratch / "tune" / "gcp_resources").unlink()
    search.server.fail(rf"POST .*/{KIND}$", 403, times=100)
    # A job of the same search with other trials is another one.
    assert search.run().state == "failed"
    error = search.record()["error"]
    assert (error["exit_status"], error["what"]) == (75, "the job of this search does not exist")
    assert f"headrace-search={search.search}" in error["where"]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [({"parallel": 0}, "0 of 4 at a time"), ({"trials": -1, "parallel": 2}, "2 of -1 at a time")],
)
def test_numbers_that_the_service_would_refuse_begin_no_job(
    search: Search, parameters: dict[str, int], said: str
) -> None:
    engine = search.run(**parameters)
    assert [engine.tasks[name].state for name in ("study", "best")] == ["failed", "failed"]
    assert "tune" not in engine.tasks
    record = read_record(
        search.root, "tune", step_identity(search.search, parameters.get("trials", 0), TrainingRequest())
    )
    assert record is not None
    assert (record["error"]["exit_status"], said in record["error"]["received"]) == (2, True)
    assert search.server.requests == []


def test_the_parameters_are_those_that_the_helpers_of_google_cloud_pipeline_components_make() -> None:
    from google.cloud.aiplatform import hyperparameter_tuning as hpt
    from google.cloud.aiplatform_v1 import StudySpec
    from google_cloud_pipeline_components.v1 import hyperparameter_tuning_job as helpers

    from headrace.components.tune.vertex.space import metric_specs, parameter_specs
    from headrace.core.problem import Choice, Range, Tuning

    space = {
        "learning_rate": Range(0.0001, 0.1, log=True),
        "dropout": Range(0.0, 0.5),
        "epochs": Range(1, 2**62),
        "batch_size": Range(16, 64, step=16),
        "model": Choice(["deep", "wide_and_deep"]),
    }
    theirs = helpers.serialize_parameters(
        {
            "learning_rate": hpt.DoubleParameterSpec(min=0.0001, max=0.1, scale="log"),
            "dropout": hpt.DoubleParameterSpec(min=0.0, max=0.5, scale="linear"),
            "epochs": hpt.IntegerParameterSpec(min=1, max=2**62, scale="linear"),
            "batch_size": hpt.DiscreteParameterSpec(values=[16, 32, 48, 64], scale="linear"),
            "model": hpt.CategoricalParameterSpec(values=["deep", "wide_and_deep"]),
        }
    )
    read = StudySpec.ParameterSpec.from_json
    ours = parameter_specs(Tuning(space))
    assert [read(json.dumps(one)) for one in ours] == [read(json.dumps(one)) for one in theirs]
    metrics = [StudySpec.MetricSpec.from_json(json.dumps(one)) for one in metric_specs()]
    told = helpers.serialize_metrics({"eval_loss": "minimize"})
    assert metrics == [StudySpec.MetricSpec.from_json(json.dumps(one)) for one in told]


def test_an_earlier_jobs_trial_is_not_taken_for_this_ones(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier job of the same search left in the folder of a trial says nothing of this job's trial."""
    write: Callable[..., None] = storage.write_json

    def others(uri: str, value: Any) -> None:
        if uri.endswith("/1/trial.json"):
            value = {**value, "parameters": {**value["parameters"], "learning_rate": 0.5}}
        if uri.endswith("/2/model/training.json"):
            value = {**value, "model_version": "fedcba9876543210"}
        write(uri, value)

    monkeypatch.setattr(storage, "write_json", others)
    assert search.run().state == "succeeded"
    assert search.record()["result"]["trials"] == {"complete": 2, "pruned": 2, "failed": 0, "unfinished": 0}


def test_a_job_that_outlives_its_launcher_is_named_with_the_command_that_ends_it(
    search: Search, launching: Launching
) -> None:
    """The last one of the module: the process that runs launchers is killed."""

    def killed(call: Call) -> Mapping[str, Any]:
        search.trials.hold = True
        launching.ended_by(signal.SIGKILL, call, search.server, search.scratch)
        while len(search.job.trials) < 4:
            search.server.vertex.handle("GET", search.job.name, {}, b"")
        raise TaskFailed("was killed")

    search.do.by_task["tune"] = killed
    assert search.run().state == "failed"
    error = search.record()["error"]
    assert (error["exit_status"], error["received"].partition(";")[0]) == (75, "4 unfinished")
    number = search.job.name.rpartition("/")[2]
    assert error["fix"].endswith(f"gcloud ai hp-tuning-jobs cancel {number} --region={LOCATION}")
