"""Which edit repeats which step: the table in docs/platform_engineer.md is made, row by row, and it is true."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from headrace.components.train.options import Budget, Checkpointing, Options
from headrace.components.train.request import TrainingRequest
from headrace.components.tune.identity import search_identity
from headrace.core.problem import Problem
from headrace.core.problem.file import ProblemPart, load_problem
from headrace.core.steps import identity

DOCS = Path(__file__).parents[2] / "docs" / "platform_engineer.md"
STEPS = ("preprocess", "train", "tune", "evaluate")
HELPER = "def width(units):\n    return 2 * units\n"
PROBLEM = '''\
"""Births."""
from headrace.core.problem import Categorical, Choice, Costs, Crossed, Drift, Gate, Numeric, Problem
from headrace.core.problem import Monitor, Serving, Splits, Training, Tuning
from headrace.expressions import col
from layers import width

problem = Problem(
    name="natality",
    key="record_id",
    label=Numeric("weight_pounds", minimum=0.5),
    features=[Numeric("mother_age", minimum=10), Categorical("plurality"), Categorical("is_male")],
    splits=Splits(0.8, 0.1, 0.1),
    gate=Gate("root_mean_squared_error", at_most=2.0),
    training=Training(batch_size=32),
    quarantine_budget=0.05,
    hyperparameters={"units": 8},
    drift=Drift(jensen_shannon=0.5),
    tuning=Tuning({"epochs": Choice([1, 2])}),
)


def build_model(problem, statistics, hyperparameters):
    return width(hyperparameters["units"])  # wide enough
'''
MODEL = "\n\ndef build_model"
DERIVE = ("quarantine_budget=0.05", 'quarantine_budget=0.05, derive={"months": col("age") * 12}')
PREPARE = "\n\ndef prepare(batch):\n    return batch\n"
BINARY = PROBLEM.replace(
    'Numeric("weight_pounds", minimum=0.5)', 'Categorical("is_low", vocabulary=["no", "yes"])'
).replace('"root_mean_squared_error", at_most=2.0', '"auc", at_least=0.6')


@dataclasses.dataclass(frozen=True)
class State:
    """All that the steps of a run depend on."""

    problem: str = PROBLEM
    helper: str = HELPER
    other: str = "VALUE = 1\n"
    data: str = "d" * 16
    baseline: str = ""
    csv: tuple[str, ...] = ()
    request: TrainingRequest = dataclasses.field(default_factory=TrainingRequest)
    release: str = "1.0"


def edited(old: str, new: str, *more: tuple[str, str]) -> Callable[[State], State]:
    def edit(state: State) -> State:
        problem = state.problem
        for before, after in ((old, new), *more):
            assert before in problem
            problem = problem.replace(before, after)
        return dataclasses.replace(state, problem=problem)

    return edit


def changed(**values: object) -> Callable[[State], State]:
    return lambda state: dataclasses.replace(state, **values)  # type: ignore[arg-type]


def asked(options: Options) -> Callable[[State], State]:
    return changed(request=TrainingRequest(options=options))


# The edits by their rows of the table.
EDITS: Mapping[str, tuple[Callable[[State], State], ...]] = {
    "a comment, a docstring, the layout of the Problem file or of a module": (
        edited("  # wide enough", "  # another comment"),
        edited('"""Births."""', '"""Births in the US."""'),
        edited("splits=Splits(0.8, 0.1, 0.1)", "splits=Splits(\n        0.8, 0.1, test=0.1\n    )"),
        changed(helper="# doubled\n" + HELPER),
    ),
    "a file that the Problem file does not import": (changed(other="VALUE = 2\n"),),
    "`monitor`": (
        edited("quarantine_budget=0.05", "quarantine_budget=0.05, monitor=Monitor(drift=0.2)"),
        edited("quarantine_budget=0.05", "quarantine_budget=0.05, monitor=Monitor()"),
    ),
    "`gate`": (
        edited("at_most=2.0", "at_most=1.5"),
        edited("at_most=2.0", 'at_most=2.0, slices=["plurality"]'),
        edited('    gate=Gate("root_mean_squared_error", at_most=2.0),\n', ""),
    ),
    "`costs`": (
        edited("quarantine_budget=0.05", "quarantine_budget=0.05, costs=Costs(1, 5)"),
        edited("quarantine_budget=0.05", "quarantine_budget=0.05, costs=Costs()"),
    ),
    "`threshold`": (edited("quarantine_budget=0.05", "quarantine_budget=0.05, threshold=0.3"),),
    "`serving`, which the Model carries": (
        edited("quarantine_budget=0.05", 'quarantine_budget=0.05, serving=Serving("static", "/tables")'),
    ),
    "`tuning`": (
        edited("Choice([1, 2])", "Choice([1, 3])"),
        edited("Tuning({", "Tuning(seed=2, space={"),
        edited('    tuning=Tuning({"epochs": Choice([1, 2])}),\n', ""),
    ),
    "`training`, `hyperparameters`": (
        edited("batch_size=32", "batch_size=64"),
        edited('"units": 8', '"units": 16'),
    ),
    "`buckets`, `embedding`, `hash_buckets`, `max_vocabulary` of a feature, a `Crossed` feature": (
        edited("minimum=10", "minimum=10, buckets=[20, 30]"),
        edited('Categorical("plurality")', 'Categorical("plurality", embedding=2)'),
        edited('Categorical("plurality")', 'Categorical("plurality", hash_buckets=8)'),
        edited('Categorical("plurality")', 'Categorical("plurality", max_vocabulary=8)'),
        edited(
            'Categorical("is_male")]',
            'Categorical("is_male"), Crossed("plurality", "is_male", hash_buckets=8)]',
        ),
    ),
    "`build_model`, `callbacks`, any other code of the Problem file or of a module that it imports": (
        edited("return width", "return 1 + width"),
        edited("\n\ndef build_model", "\nSIZE = 1\n\ndef build_model"),
        edited(
            "\n\ndef build_model", "\n\ndef callbacks(problem, hyperparameters):\n    return []\n\n\ndef build_model"
        ),
        changed(helper=HELPER.replace("2", "3")),
    ),
    "`prepare`, and where there is one, all code but `build_model` and `callbacks`": (
        edited(
            "    quarantine_budget=0.05,\n",
            '    quarantine_budget=0.05,\n    reads=["births"],\n',
            (MODEL, PREPARE + MODEL),
        ),
    ),
    "a number of quantile buckets, `Numeric(..., buckets=10)`": (
        edited('Numeric("mother_age", minimum=10)', 'Numeric("mother_age", minimum=10, buckets=10)'),
    ),
    "`name`, `key`, `label`, `features`, `derive`, `splits`, `reads`, `missing`, `quarantine_budget`, `drift`, "
    "`duplicate_rows`, `no_rows`, `weight`": (
        edited('"natality"', '"births"'),
        edited('"record_id"', '"id"'),
        edited("minimum=0.5", "minimum=0.4"),
        edited("minimum=10", "minimum=11"),
        edited('Categorical("plurality")', 'Categorical("plurality", optional=True)'),
        edited('Numeric("mother_age", minimum=10)', 'Numeric("months")', DERIVE),
        edited("0.8, 0.1, 0.1", "0.6, 0.2, 0.2"),
        edited("quarantine_budget=0.05", 'quarantine_budget=0.05, missing=["NA"]'),
        edited("quarantine_budget=0.05", "quarantine_budget=0.5"),
        edited("jensen_shannon=0.5", "jensen_shannon=0.4"),
        edited("quarantine_budget=0.05", 'quarantine_budget=0.05, duplicate_rows="quarantine"'),
        edited("quarantine_budget=0.05", 'quarantine_budget=0.05, weight="births"'),
        edited("quarantine_budget=0.05", 'quarantine_budget=0.05, no_rows="refuse"'),
    ),
    "the rows, `--baseline`, `--csv`": (
        changed(data="e" * 16),
        changed(baseline="b" * 16),
        changed(csv=("delimiter=;",)),
    ),
    "a budget (`--max-hours`, `--max-cost` with its price)": (
        asked(Options(budget=Budget(max_hours=1.0))),
        asked(Options(budget=Budget(max_cost=1.0, price_per_hour=2.0))),
    ),
    "`--target`": (asked(Options(budget=Budget(target="root_mean_squared_error=1.1"))),),
    "a price alone, how often checkpoints are written": (
        asked(Options(budget=Budget(price_per_hour=2.0))),
        asked(Options(checkpointing=Checkpointing(minutes=1.0))),
    ),
    "the release of headrace": (changed(release="1.1"),),
}


def identities(state: State, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Each step's identity; that of the evaluation is of the Model of `train`."""
    folder.mkdir()
    (folder / "problem.py").write_text(state.problem)
    (folder / "layers.py").write_text(state.helper)
    (folder / "other.py").write_text(state.other)
    monkeypatch.setattr(identity, "release", lambda: state.release)
    file = load_problem(str(folder / "problem.py"))
    examples = identity.preprocess_identity(file, state.data, state.baseline, state.csv)
    model = state.request.identity(file, examples)
    return {
        "preprocess": examples,
        "train": model,
        # A search ends by its trials: of the budget only the target is theirs.
        "tune": search_identity(file, examples, state.request),
        "evaluate": identity.evaluate_identity(file, examples, model, ""),
    }


def table() -> dict[str, set[str]]:
    """The table of the docs: the steps that an edit repeats."""
    text = DOCS.read_text()
    lines = text[text.index("| edit | preprocess |") :].split("\n\n")[0].splitlines()
    header, _, *rows = ([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines)
    assert header == ["edit", *STEPS]
    return {edit: {step for step, cell in zip(STEPS, cells, strict=True) if cell} for edit, *cells in rows}


# What no identity covers; `tests/pipelines/platforms/test_vertex_platform.py` compares the tasks of a spec.
ENGINES = {
    "`labels` of the options for Vertex AI or Kubeflow": set(),
    "the machines, the number of replicas or the image of a task": set(STEPS),
}


def test_the_table_has_every_edit() -> None:
    found = table()
    assert [*found] == [*EDITS, *ENGINES]
    assert {row: found[row] for row in ENGINES} == ENGINES


def test_the_table_has_every_field_of_a_problem() -> None:
    named = {name for row in table() for name in re.findall(r"`(\w+)`", row)}
    # The code of `prepare` has a row of its own, and its digest follows from it.
    assert {field.name for field in dataclasses.fields(Problem)} - named == {"prepared_by"}


@pytest.mark.parametrize(("row", "number"), [(row, n) for row, edits in EDITS.items() for n in range(len(edits))])
def test_an_edit_repeats_what_the_table_says(
    row: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = State(BINARY) if row in ("`costs`", "`threshold`") else State()
    before = identities(state, tmp_path / "before", monkeypatch)
    after = identities(EDITS[row][number](state), tmp_path / "after", monkeypatch)
    assert {step for step in STEPS if before[step] != after[step]} == table()[row]


@pytest.mark.parametrize("before", ["", ', class_weights="balanced"'])
def test_class_weights_repeat_the_training(before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes = PROBLEM.replace('Numeric("weight_pounds", minimum=0.5)', 'Categorical("light", vocabulary=["no", "yes"])')
    classes = classes.replace('Gate("root_mean_squared_error", at_most=2.0)', "None")
    states = [
        State(problem=classes.replace("batch_size=32", f"batch_size=32{weights}"))
        for weights in (before, ', class_weights={"yes": 5.0}')
    ]
    found = [identities(state, tmp_path / str(number), monkeypatch) for number, state in enumerate(states)]
    assert {step for step in STEPS if found[0][step] != found[1][step]} == table()["`training`, `hyperparameters`"]


# The parameter by which an engine's cache knows each step, with those that are the same for all of them.
DIGESTS = {"preprocess": "schema_digest", "train": "training_digest", "evaluate": "evaluation_digest"}


@pytest.mark.parametrize("row", ["`gate`", "`training`, `hyperparameters`", "`tuning`"])
@pytest.mark.parametrize("helper", ["beside", "on the import path"])
def test_an_engine_is_given_the_same_where_nothing_is_to_be_repeated(
    row: str, helper: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headrace.pipelines.local_run import plan_static

    def arguments(state: State) -> dict[str, object]:
        problem, data = tmp_path / "problem", tmp_path / "births.csv"
        code = problem if helper == "beside" else tmp_path / "code"
        for folder in (problem, code):
            folder.mkdir(exist_ok=True)
        (problem / "births.py").write_text(state.problem)
        (code / "layers.py").write_text(state.helper)
        data.write_text(
            "record_id,weight_pounds,mother_age,plurality,is_male\n"
            + "".join(f"r{n},{5 + n % 3},{20 + n % 9},{1 + n % 2},{n % 2}\n" for n in range(50))
        )
        if code is not problem:
            monkeypatch.syspath_prepend(str(code))
        return plan_static(str(problem / "births.py"), str(data), str(tmp_path / "root"), "").arguments

    before, after = arguments(State()), arguments(EDITS[row][0](State()))
    changed = {name for name in before if before[name] != after[name]}
    repeated = {digest for step, digest in DIGESTS.items() if step in table()[row]}
    if "train" in table()[row]:
        # The evaluation repeats for its Model, which is another one.
        repeated -= {"evaluation_digest"}
    # Those of the exit task, which no cache answers for.
    assert changed == {"run_id", "problem_digest", *repeated}
    # What each step is given leads to the file that has what the step reads.
    monkeypatch.undo()
    parts: dict[str, ProblemPart] = {
        "schema_digest": "schema",
        "training_digest": "training",
        "problem_digest": "problem",
    }
    for name, part in parts.items():
        file = load_problem(str(after["problem"]), digest=str(after[name]), part=part)
        assert (file.problem.name, [*file.files]) == ("natality", ["layers.py"])
