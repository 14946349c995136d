"""A retry of preprocessing on Vertex AI, whose outputs are below the folder of a pipeline job."""

from collections.abc import Callable
from pathlib import Path

import pytest
from kfp import dsl

from headrace.components.preprocess import step
from headrace.core.problem.file import load_problem
from headrace.core.steps.step import parse_event

NATALITY = Path(__file__).parents[3] / "examples" / "natality"


def test_a_retry_does_not_read_rows_and_a_new_job_does(
    bucket: str, put: Callable[[str, bytes], str], capfd: pytest.CaptureFixture[str]
) -> None:
    rows = (NATALITY / "births.csv").read_text().splitlines(keepends=True)[:200]
    digest = load_problem(str(NATALITY / "natality.py")).digests["schema_digest"]
    data = put("births.csv", "".join(rows).replace("weight_pounds", "weight").encode())

    def attempt(job: str, task: int) -> str:
        examples = dsl.Dataset(uri=f"gs://{bucket}/headrace/123456789012/{job}/preprocess_{task}/examples")
        step.run(str(NATALITY / "natality.py"), digest, data, "1", f"gs://{bucket}/headrace", examples)
        return examples.uri

    messages = []
    for task in (-51, -52):
        with pytest.raises(SystemExit) as ended:
            attempt("natality-1", task)
        assert ended.value.code == 2
        events = [event for line in capfd.readouterr().out.splitlines() if (event := parse_event(line))]
        messages.append(events[-1]["message"])
        # Only a retry that reads nothing ends as before.
        put("births.csv", "".join(rows).encode())
    assert messages[0] == messages[1]
    assert "weight_pounds" in messages[0]
    assert attempt("natality-2", -53).startswith(f"gs://{bucket}/")
