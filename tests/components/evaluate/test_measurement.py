"""A stored measurement is read as it was written, and saves the predictions of another gate."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import Categorical, Costs, Gate, Numeric, Problem
from headrace.components.evaluate import measurement
from headrace.components.evaluate.importance import FeatureImportance, Importance
from headrace.components.evaluate.measurement import Measurement, measurement_identity, stored_or
from headrace.components.evaluate.predict import SplitPredictions
from headrace.components.evaluate.slices import Category
from headrace.core.errors import PlatformError
from headrace.core.metrics import Outcomes

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@st.composite
def predictions(draw: st.DrawFn, models: int) -> SplitPredictions:
    rows = draw(st.integers(1, 5))
    keys = np.array(draw(st.lists(texts, min_size=rows, max_size=rows)), object)
    generator = np.random.default_rng(draw(st.integers(0, 9)))
    task = draw(st.sampled_from(["regression", "binary", "multiclass"]))
    classes = () if task == "regression" else ("no", "yes", "maybe")[: 2 if task == "binary" else 3]
    outcomes = []
    for _ in range(models):
        label = generator.normal(size=rows) if task == "regression" else generator.integers(0, len(classes), rows)
        probability = {"regression": None, "binary": generator.random(rows, np.float32)}.get(
            task, generator.random((rows, 3), np.float32)
        )
        weight = generator.random(rows) if draw(st.booleans()) else None
        outcomes.append(Outcomes(task, classes, label, label[::-1].copy(), probability, weight))  # type: ignore[arg-type]
    values = tuple(draw(st.lists(texts, min_size=1, max_size=3, unique=True)))
    columns = {
        draw(texts): Category(values, generator.integers(0, len(values), rows)),
        "a number": np.array([np.nan, *range(rows - 1)], np.float32),
    }
    return SplitPredictions(keys, tuple(outcomes), columns)  # type: ignore[arg-type]


def same(one: SplitPredictions, other: SplitPredictions) -> bool:
    np.testing.assert_equal(vars(one) | {"outcomes": 0, "columns": 0}, vars(other) | {"outcomes": 0, "columns": 0})
    for left, right in zip(one.outcomes, other.outcomes, strict=True):
        np.testing.assert_equal(vars(left), vars(right))
        assert left.label.dtype == right.label.dtype
        assert left.prediction.dtype == right.prediction.dtype
    assert list(one.columns) == list(other.columns)
    for left_column, right_column in zip(one.columns.values(), other.columns.values(), strict=True):
        if isinstance(left_column, Category):
            np.testing.assert_equal(vars(left_column), vars(right_column))
        else:
            np.testing.assert_equal(left_column, right_column)
            assert left_column.dtype == right_column.dtype  # type: ignore[union-attr]
    return True


@given(test=predictions(2), eval_=predictions(1), increase=st.none() | st.floats(allow_nan=False))
def test_what_is_stored_is_read_unchanged(
    tmp_path_factory: pytest.TempPathFactory, test: SplitPredictions, eval_: SplitPredictions, increase: float | None
) -> None:
    path = tmp_path_factory.mktemp("measurements") / "m.bin"
    importance = Importance("log_loss", 0.5, 3, 4, 2, 1, (FeatureImportance("a", increase, 0.1),))
    measured = Measurement(test, eval_, importance)
    assert stored_or(str(path), lambda: measured) is measured
    again = stored_or(str(path), lambda: pytest.fail("it was measured again"))
    assert again.importance == importance
    assert same(measured.test, again.test)
    assert same(measured.eval, again.eval)


def small() -> Measurement:
    numbers = np.array([1.0, 2.0])
    predicted = SplitPredictions(np.array(["a", "b"], object), (Outcomes("regression", (), numbers, numbers),), {})
    return Measurement(predicted, predicted, Importance("root_mean_squared_error", 0.5, 3, 4, 2, 1, ()))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut"])
def test_a_damaged_file_is_measured_again(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(content)
    stored_or(str(path), small)
    assert stored_or(str(path), lambda: pytest.fail("it was measured again")).importance == small().importance


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_file_with_any_other_bit_is_measured_again(
    tmp_path_factory: pytest.TempPathFactory, place: float, bit: int
) -> None:
    path = tmp_path_factory.mktemp("measurements") / "m.bin"
    stored_or(str(path), small)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    measured = small()
    assert stored_or(str(path), lambda: measured) is measured


def test_a_measurement_that_cannot_be_stored_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(uri: str, content: bytes) -> None:
        raise PlatformError("the path cannot be written", where=uri, received="[Errno 28] No space left on device")

    monkeypatch.setattr(measurement.storage, "write_bytes", full)
    measured = small()
    assert stored_or(str(tmp_path / "m.bin"), lambda: measured) is measured


def test_large_splits_and_no_root_store_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement, "MOST_ROWS", 3)
    stored_or(str(tmp_path / "m.bin"), small)
    stored_or("", small)
    assert list(tmp_path.iterdir()) == []


def test_the_gate_and_the_costs_do_not_count_and_all_else_does() -> None:
    label = Categorical("y", vocabulary=["no", "yes"])
    problem = Problem("p", key="key", label=label, features=[Numeric("a")])

    def of(problem: Problem = problem, examples: str = "e", model: str = "m", champion: str | None = None) -> str:
        return measurement_identity(problem, examples, model, champion)

    for change in ({"gate": Gate("log_loss", at_most=3)}, {"gate": None}, {"costs": Costs(1, 2)}):
        assert of(dataclasses.replace(problem, **change)) == of()  # type: ignore[arg-type]
    other_columns = dataclasses.replace(problem, features=[Numeric("a"), Numeric("b")])
    assert len({of(), of(other_columns), of(examples="f"), of(model="n"), of(champion="c")}) == 5
