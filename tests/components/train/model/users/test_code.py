"""The user's code: an error of it names its line, and a signal meanwhile is no fault of it."""

from pathlib import Path

import pytest

from headrace.components.train.model.users.code import blaming
from headrace.core.errors import ProblemError
from headrace.core.problem.file import load_problem
from headrace.core.signals import Terminated

NATALITY = Path(__file__).parents[5] / "examples" / "natality" / "natality.py"


def test_a_signal_is_no_fault_of_the_code() -> None:
    file = load_problem(str(NATALITY))
    with pytest.raises(Terminated), blaming(file, "build_model failed"):
        raise Terminated.by(15)
    said = r"natality\.py, build_model: build_model failed\. Received: ValueError: no"
    with pytest.raises(ProblemError, match=said), blaming(file, "build_model failed"):
        raise ValueError("no")
