"""The prepare function: errors that are not its own."""

from pathlib import Path

import pytest

from headrace.core.errors import ProblemError
from headrace.core.problem.file import load_problem
from headrace.core.rows.prepare import Prepare, prepared
from headrace.core.signals import Terminated
from headrace.core.sources.open import read_part
from headrace.core.sources.source import Part

PROBLEM = """
from headrace.core.problem import Numeric, Problem
from headrace.core.signals import Terminated

def prepare(batch):
    raise ERROR

problem = Problem(name="a", key="id", label=Numeric("y"), features=[Numeric("x")], reads=["x"])
"""


@pytest.mark.parametrize(
    ("raised", "error"), [("Terminated.by(15)", Terminated), ("ValueError('no number')", ProblemError)]
)
def test_a_signal_is_no_fault_of_the_function(tmp_path: Path, raised: str, error: type[Exception]) -> None:
    (tmp_path / "problem.py").write_text(PROBLEM.replace("ERROR", raised))
    (tmp_path / "rows.csv").write_text("id,x,y\na,1,2\n")
    function = Prepare.of(load_problem(str(tmp_path / "problem.py")))
    (rows,) = read_part(Part(0, str(tmp_path / "rows.csv"), prepare=function), ["id", "x", "y"], 10)
    with pytest.raises(error):
        prepared(rows)
