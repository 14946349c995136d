"""The exit task of a run that searched: the model's version is what the search came to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from headrace.components.summarize.component import summarize
from headrace.components.train.request import TrainingRequest
from headrace.components.tune.identity import search_identity, step_identity
from headrace.core import storage
from headrace.core.errors import DataError
from headrace.core.problem.file import load_problem
from headrace.core.steps import identity as lineage
from headrace.core.steps.workspace import record_uri, summary_uri

PROBLEM = str(Path(__file__).parents[3] / "examples" / "natality" / "natality.py")
VERSION = "0123456789abcdef"


def run(root: Path, *, trials: int = 0, state: str = "SUCCEEDED") -> dict[str, Any]:
    summarize.python_func(
        pipeline="tuned-training",
        run_id="natality-1",
        started=1000.0,
        problem=PROBLEM,
        problem_digest=load_problem(PROBLEM).digest,
        data="births.csv",
        data_version="v1",
        champion="",
        root=str(root),
        registry=str(root / "registry"),
        endpoint=str(root / "endpoint"),
        # An engine may have no name of the run.
        final_status=dsl.PipelineTaskFinalStatus(state, None, "", None, None),
        searched=True,
        trials=trials,
    )
    written: dict[str, Any] = storage.read_json(summary_uri(str(root), "natality-1"))
    return written


@pytest.fixture
def keep(tmp_path: Path) -> Any:
    """Writes the record of a step of a search of so many trials."""
    file = load_problem(PROBLEM)
    examples = lineage.preprocess_identity(file, "v1")

    def write(name: str, *, trials: int = 0, error: DataError | None = None, **result: Any) -> None:
        identity = {
            "preprocess": examples,
            "tune": step_identity(search_identity(file, examples, TrainingRequest()), trials, TrainingRequest()),
            "evaluate": lineage.evaluate_identity(file, examples, VERSION, ""),
            "register": lineage.publish_identity("register", VERSION, str(tmp_path / "registry")),
            "deploy": lineage.publish_identity("deploy", VERSION, str(tmp_path / "endpoint")),
        }[name]
        record = {
            "step": name,
            "identity": identity,
            "status": "failed" if error else "succeeded",
            "started": 1001.0,
            "outputs": {},
            "result": result,
            "error": error.to_json() if error else None,
        }
        storage.write_json(record_uri(str(tmp_path), name, identity), record)

    return write


def test_the_steps_after_the_search_follow_from_the_version_that_it_came_to(tmp_path: Path, keep: Any) -> None:
    keep("preprocess")
    keep("tune", model_version=VERSION)
    for name in ("evaluate", "register", "deploy"):
        keep(name)
    written = run(tmp_path)
    assert written["status"] == "succeeded"
    assert [step["step"] for step in written["steps"]] == ["preprocess", "tune", "evaluate", "register", "deploy"]
    # More trials of the same search are another result.
    assert run(tmp_path, trials=9, state="FAILED")["status"] == "failed"


def test_a_search_that_failed_says_why(tmp_path: Path, keep: Any) -> None:
    keep("preprocess")
    keep("tune", trials=5, error=DataError("every trial failed", received="step 7"))
    written = run(tmp_path, trials=5, state="FAILED")
    assert (written["status"], written["error"]["what"]) == ("failed", "every trial failed")
    assert [step["status"] for step in written["steps"]] == ["succeeded", "failed", "skipped", "skipped", "skipped"]
