"""A Problem file is executed once, and every way in which it can be wrong is one paragraph."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.core.errors import ProblemError, UsageError
from headrace.core.problem.file import load_problem
from headrace.core.signals import Terminated

GOOD = """\
from headrace.core.problem import Numeric, Problem
problem = Problem(name="a", key="id", label=Numeric("y"), features=[Numeric("x")])
"""
EXAMPLE = Path(__file__).parents[3] / "examples" / "natality" / "natality.py"


def write(folder: Path, text: str) -> str:
    path = folder / "problem.py"
    path.write_text(text)
    return str(path)


def test_the_example_loads() -> None:
    file = load_problem(str(EXAMPLE))
    assert file.problem.name == "natality"
    assert file.problem.task == "regression"
    assert file.build_model is None
    assert file.source == EXAMPLE.read_text()


def test_build_model_is_found(tmp_path: Path) -> None:
    file = load_problem(write(tmp_path, GOOD + "def build_model(problem, statistics, hyperparameters): return 3\n"))
    assert file.build_model is not None
    assert file.build_model(None, None, None) == 3


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("x = 1\n", "problem.py", "no `problem`"),
        ("problem = {'name': 'a'}\n", "problem.py", "of type dict"),
        ("import os\nproblem = (\n", "line 2", "was never closed"),
        ("x = 1\ny = x / 0\n", "line 2 (y = x / 0)", "ZeroDivisionError"),
        ("def f():\n    return {}['k']\n\nf()\n", "line 2 (return {}['k'])", "KeyError"),
        ("import no_such_module\n", "line 1 (import no_such_module)", "ModuleNotFoundError"),
        (GOOD + "build_model = 3\n", "problem.py", "type int"),
        (GOOD.replace('"id"', '"y"'), 'line 2 (problem = Problem(name="a"', '"y"'),
    ],
)
def test_a_wrong_file_is_refused_with_its_own_line(tmp_path: Path, text: str, where: str, said: str) -> None:
    with pytest.raises(ProblemError) as refused:
        load_problem(write(tmp_path, text))
    assert where in str(refused.value.where)
    assert said in str(refused.value.received)


def test_a_signal_while_it_is_loaded_is_no_fault_of_the_file(tmp_path: Path) -> None:
    text = GOOD + "from headrace.core.signals import Terminated\nraise Terminated.by(15)\n"
    with pytest.raises(Terminated, match="the run was terminated"):
        load_problem(write(tmp_path, text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match="the Problem file does not exist"):
        load_problem(str(tmp_path / "nowhere.py"))


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "problem.py"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ProblemError, match="cannot be read"):
        load_problem(str(path))


def test_what_was_submitted_is_what_runs(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    digest = load_problem(path).digest
    assert load_problem(path, digest=digest).digest == digest
    write(tmp_path, GOOD + "# changed\n")
    with pytest.raises(ProblemError, match="changed after the run was submitted"):
        load_problem(path, digest=digest)


def test_work_that_reads_the_schema_alone_does_not_mind_another_gate(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    digest = load_problem(path).problem.schema_digest
    write(tmp_path, GOOD + "# changed\n")
    assert load_problem(path, digest=digest, part="schema").problem.schema_digest == digest
    write(tmp_path, GOOD.replace('"y"', '"z"'))
    with pytest.raises(ProblemError, match="changed after the run was submitted"):
        load_problem(path, digest=digest, part="schema")


def test_a_file_in_a_bucket_is_what_was_submitted(put: Callable[[str, bytes], str]) -> None:
    uri = put("problems/problem.py", GOOD.encode())
    digest = hashlib.sha256(GOOD.encode()).hexdigest()
    file = load_problem(uri, digest=digest)
    assert (file.problem.name, file.path, file.digest) == ("a", uri, digest)
    with pytest.raises(ProblemError, match="the Problem file changed after the run was submitted"):
        load_problem(put("problems/problem.py", b"raise SystemExit(7)\n"), digest=digest)
    with pytest.raises(ProblemError, match="the Problem file does not exist"):
        load_problem(uri.replace("problem.py", "nowhere.py"))


def test_a_file_from_elsewhere_is_not_executed() -> None:
    for uri in ("https://example.com/problem.py", "ftp://example.com/problem.py"):
        with pytest.raises(UsageError, match="is not supported"):
            load_problem(uri)


@pytest.mark.parametrize(
    ("change", "received"),
    [
        (('Numeric("x")', 'Numeric("x", double=True)'), "double of 'x'"),
        (('Numeric("x")', 'Numeric("x", exponent=3)'), "exponent of 'x'"),
        (('Numeric("y")', 'Numeric("y", double=True, exponent=-1)'), "exponent of 'y', double of 'y'"),
        (("features=", 'weight=Numeric("w", double=True), features='), "double of 'w'"),
        (("features=", 'prepared_by="me", features='), "prepared_by"),
    ],
)
def test_what_is_measured_is_not_declared(tmp_path: Path, change: tuple[str, str], received: str) -> None:
    with pytest.raises(ProblemError, match="the argument is not for a Problem file") as raised:
        load_problem(write(tmp_path, GOOD.replace(*change)))
    assert raised.value.received == received
