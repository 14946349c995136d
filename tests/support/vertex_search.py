"""Tuned training as Vertex AI would run it: its compiled tasks in their order, and trials that leave what is asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peers.pipeline_engine import Answers, Call, Do, Engine, TaskFailed
from peers.vertex import containers
from peers.vertex.server import VertexServer
from peers.vertex.service import PARENT
from peers.vertex.tuning_jobs import Outcome, TuningJobs, flags
from support.examples_manifest import write_manifest

from headrace.components.train.request import TrainingRequest
from headrace.components.tune.identity import search_identity, step_identity
from headrace.components.tune.vertex.space import parameters_of
from headrace.components.tune.vertex.trial import model_uri, record_uri
from headrace.core import storage
from headrace.core.problem.file import load_problem
from headrace.core.steps.step import read_record

KIND = "hyperparameterTuningJobs"


class Search:
    """The compiled pipeline's tasks: the launcher, `study` and `best` do their work, trials leave what is asked."""

    def __init__(
        self, spec: dict[str, Any], problem: Path, server: VertexServer, launch: Do, root: str, scratch: Path
    ) -> None:
        self.problem, self.server, self.root, self.scratch = problem, server, root, scratch
        self.launch = launch
        self.file = load_problem(str(problem))
        self.examples = scratch / "examples"
        self.examples.mkdir()
        write_manifest(self.examples)
        self.trials = TuningJobs(self.trial)
        self.ended: dict[int, str] = {}
        self.commands: list[list[str]] = []
        server.vertex.running[KIND] = self.trials
        self.do = Answers()
        self.do.by_task = {
            "preprocess": self.preprocess,
            "study": self.step,
            "tune": launch,
            "best": self.step,
        }
        self._spec = spec

    @property
    def search(self) -> str:
        return search_identity(self.file, "fedcba9876543210", TrainingRequest())

    @property
    def job(self) -> Any:
        (job,) = [one for name, one in self.server.vertex.resources.items() if KIND in name]
        return job

    def run(self, **parameters: Any) -> Engine:
        given = {
            "problem": str(self.problem),
            **{name: digest for name, digest in self.file.digests.items() if name != "training_digest"},
            "data": "gs://data/births.csv",
            "data_version": "1",
            "root": self.root,
            "registry": f"{PARENT}/models/natality",
            "endpoint": f"{PARENT}/endpoints/natality",
            "run_id": "natality-1",
            "started": 0.0,
            "parallel": 4,
            **parameters,
        }
        engine = Engine(self._spec, given, self.do, f"{self.root}/pipeline", "natality-1")
        while engine.state == "running":
            engine.step()
        return engine

    def record(self) -> dict[str, Any]:
        """Of the step that tasks before and after the job make together."""
        record = read_record(self.root, "tune", step_identity(self.search, 0, TrainingRequest()))
        assert record is not None
        return record

    def preprocess(self, call: Call) -> Mapping[str, Any]:
        call.outputs["examples"]["uri"] = str(self.examples)
        return {}

    def step(self, call: Call) -> Mapping[str, Any]:
        """One of our own components, in this process."""
        from kfp import dsl

        from headrace.components.tune.vertex import component

        given: dict[str, Any] = dict(containers.executor_input(call, self.scratch)["inputs"]["parameterValues"])
        given |= {name: dsl.Dataset(uri=artifact["uri"]) for name, artifact in call.artifacts.items()}
        given |= {name: dsl.Model(uri=artifact["uri"]) for name, artifact in call.outputs.items()}
        try:
            told = getattr(component, call.task).python_func(**given)
        except SystemExit as ended:
            raise TaskFailed(f"exited with a non-zero status of {ended.code}.") from ended
        return {} if told is None else told._asdict()

    def trial(self, job: Any, number: int, chosen: Mapping[str, Any]) -> Outcome:
        """What a trial leaves; its eval loss is the least for the learning rate nearest to 0.01."""
        container = job.trial_job_spec.worker_pool_specs[0].container_spec
        self.commands.append([*container.command, *container.args, *flags(chosen)])
        parameters = parameters_of(self.file.problem.tuning, chosen)  # type: ignore[arg-type]
        ended = self.ended.get(number, "done")
        loss = abs(parameters["learning_rate"] - 0.01)
        folder = str(job.trial_job_spec.base_output_directory.output_uri_prefix)
        told: dict[str, Any] = {"number": number, "parameters": parameters, "epochs": 3, "seconds": 1.5}
        if ended in ("done", "unheard"):
            model = model_uri(folder, number)
            storage.write_bytes(f"{model}/saved_model/saved_model.pb", b"a SavedModel")
            storage.write_json(f"{model}/problem.json", self.file.problem.to_json())
            storage.write_json(f"{model}/training.json", training(number, parameters, loss))
            told |= {"state": "complete", "eval_loss": loss, "error": None, "model_version": f"{number:016x}"}
        elif ended == "failed":
            error = {"kind": "ProblemError", "what": "the loss is not finite", "where": "step 7"}
            told |= {"state": "failed", "eval_loss": None, "error": error}
        if ended in ("done", "unheard", "failed"):
            storage.write_json(record_uri(folder, number), told)
        measured = () if ended in ("failed", "killed", "unheard") else ((3, loss),)
        return Outcome(measured, "failed" if ended == "killed" else ended, "The replica ran out of memory.")


def training(number: int, parameters: Mapping[str, Any], loss: float) -> dict[str, Any]:
    return {
        "model_version": f"{number:016x}",
        "epochs": 3,
        "steps": 30,
        "best_epoch": 3,
        "history": {"loss": [9.0, 9.0, 9.0], "eval_loss": [9.0, 9.0, loss]},
        "rows_per_second": 1000.0,
        "parameters": 100,
        "stopped": "epochs: all 3 done",
        "learning_rate": parameters["learning_rate"],
    }
