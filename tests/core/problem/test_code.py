"""What a Problem file's code does has one digest, however it is written; the declaration is in none where it may."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.core.problem.code import code_digest
from headrace.core.problem.file import load_problem

GATE = 'gate=Gate("mean_squared_error", at_most={limit})'
FILE = '''\
"""A problem."""
import os
from headrace.core.problem import Choice, Gate, Numeric, Problem, Tuning

WIDE = 3

problem = Problem(
    name="a",
    key="id",
    label=Numeric("y"),
    features=[Numeric("x"), *[Numeric(f"x{i}") for i in range(2)]],
    hyperparameters={"units": WIDE},
    gate=Gate("mean_squared_error", at_most=2.0),
)


def build_model(problem, statistics, hyperparameters):
    """Builds it."""
    units = hyperparameters["units"]  # as declared
    return f"{units:>4} of {problem.name!r}"
'''


def code(folder: Path, text: str, helper: str = "VALUE = 1\n") -> str:
    folder.mkdir(exist_ok=True)
    (folder / "natality.py").write_text(text)
    (folder / "helpers.py").write_text(helper)
    return load_problem(str(folder / "natality.py")).code


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("at_most=2.0", "at_most=1.5"),
        ('"mean_squared_error", at_most=2.0', '"r_squared", at_least=0.1, slices=[], minimum_slice_size=7'),
        ('    gate=Gate("mean_squared_error", at_most=2.0),\n', ""),
        ('    gate=Gate("mean_squared_error", at_most=2.0),\n', "    tuning=Tuning({'epochs': Choice([1, 2])}),\n"),
        ('name="a"', 'name="b"'),
        ("  # as declared", "  # another comment\n"),
        ('"""Builds it."""', '"""Builds it another way."""'),
        ('"""A problem."""', ""),
        ("WIDE = 3", "WIDE = (\n    0x3\n)"),
        ("import os", "import os\n\n\n# nothing\n"),
        ("\n", "\r\n"),
    ],
)
def test_what_does_not_change_the_code(tmp_path: Path, old: str, new: str) -> None:
    assert old in FILE
    assert code(tmp_path, FILE) == code(tmp_path, FILE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("WIDE = 3", "WIDE = 4"),
        ("WIDE = 3", "WIDE = 3.0"),
        ("WIDE = 3", "WIDE = '3'"),
        ("WIDE = 3", "WIDE = True"),
        ("import os", "import os, sys"),
        ("{units:>4}", "{units:>5}"),
        ("{problem.name!r}", "{problem.name}"),
        (" of ", " from "),
        ('["units"]', "['unit']"),
        ("return f", "return 0 or f"),
        ("(problem, statistics, hyperparameters)", "(problem, statistics, hyperparameters=None)"),
        ("    units = ", "    x = units = "),
        ("\n\ndef build_model", "\n\nimport json\ndef build_model"),
    ],
)
def test_what_changes_the_code(tmp_path: Path, old: str, new: str) -> None:
    assert old in FILE
    assert code(tmp_path, FILE) != code(tmp_path, FILE.replace(old, new, 1))


@pytest.mark.parametrize(
    "more",
    [
        "def callbacks(*_): return [problem.gate]",
        "LIMIT = problem.gate.at_most",
        "class A:\n    limit = problem.gate",
        "def outer():\n    def inner(): return problem\n    return inner",
        "f = lambda: problem",
        "limits = [problem.gate for _ in range(2)]",
        "def reader(): return globals()",
        "import sys\ndef reader(): return sys.modules[__name__]",
        "def reader(): return reader.__globals__",
        "def reader(): return eval('pro' + 'blem')",
        "def setter():\n    global problem\n    problem = None",
    ],
)
def test_code_that_reads_the_declaration_has_it_in_its_digest(tmp_path: Path, more: str) -> None:
    text = f"{FILE}\n{more}\n"
    assert code(tmp_path, text) != code(tmp_path, text.replace("at_most=2.0", "at_most=1.5"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("at_most=2.0", "at_most=os.cpu_count() and {limit}"),
        ("at_most=2.0", "at_most=(lambda: {limit})()"),
        ("at_most=2.0", "at_most=(LIMIT := {limit})"),
        ("at_most=2.0", "at_most=float('{limit}'.strip())"),
        ("problem = Problem(", "x = problem = Problem("),
    ],
)
def test_a_declaration_that_does_more_than_declare_is_in_the_digest(tmp_path: Path, old: str, new: str) -> None:
    text = FILE.replace(old, new)
    first, second = (text.replace("{limit}", limit).replace("2.0", limit) for limit in ("2.0", "1.5"))
    assert code(tmp_path, first) != code(tmp_path, second)


def test_an_argument_of_the_name_is_another(tmp_path: Path) -> None:
    text = f"{FILE}\ndef callbacks(problem, _):\n    def inner(): return problem.gate\n    return inner\n"
    assert code(tmp_path, text) == code(tmp_path, text.replace("at_most=2.0", "at_most=1.5"))


@pytest.mark.parametrize(("helper", "same"), [("VALUE = 1  # one\n", True), ("VALUE = 2\n", False)])
def test_a_module_is_code_too(tmp_path: Path, helper: str, same: bool) -> None:
    text = f"import helpers\n{FILE}"
    assert (code(tmp_path, text) == code(tmp_path, text, helper)) is same
    # One that nothing imports is not.
    assert code(tmp_path, FILE) == code(tmp_path, FILE, helper)


def test_a_module_that_reads_the_declaration_has_it_in_its_digest(tmp_path: Path) -> None:
    text = f"import helpers\n{FILE}"
    helper = "def limit():\n    import natality\n    return natality.problem.gate\n"
    assert code(tmp_path, text, helper) != code(tmp_path, text.replace("at_most=2.0", "at_most=1.5"), helper)


def test_the_model_builder_sees_only_what_its_digest_covers(tmp_path: Path) -> None:
    (tmp_path / "natality.py").write_text(FILE)
    problem = load_problem(str(tmp_path / "natality.py")).problem
    assert (problem.gate is None, problem.trained.gate, problem.trained.tuning) == (False, None, None)
    assert problem.trained.training_digest == problem.training_digest


def test_the_digest_is_the_same_in_each_version_of_python() -> None:
    """Pinned: `ast.dump` is another text in each version of Python, and the images have one of their own."""
    source = "@d\nasync def f(a, /, b: int = 1, *c, e=..., **k) -> None:\n    '''doc'''\n    return await a\n"
    source += "x = {**{}, 1: None}; y = (1j, b'b', 'é', -1.5)\nmatch x:\n    case {'a': [1, *_]} | None: pass\n"
    source += "try: pass\nexcept* ValueError as e: print(f'{e!r:>{x}}' 'more')\n"
    assert code_digest(source, {}, ())[:16] == "6761a5c851ca0f58"
