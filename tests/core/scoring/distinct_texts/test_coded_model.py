"""Models called with codes of texts: the same bits as whole, and whole where there is nothing to gain."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest

from headrace.core.scoring.distinct_texts import coded_model
from headrace.core.scoring.distinct_texts.coded_model import CodedModel
from headrace.core.scoring.feeds import Feed
from headrace.core.scoring.scorer import Scorer
from headrace.core.sources.open import Part, Rows, read_part

NATALITY = Path(__file__).parents[4] / "examples" / "natality"


@pytest.fixture(scope="module", name="earlier_model")
def earlier_model_fixture(natality_model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same Model as an earlier version exported it: with the serving signature alone."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("earlier") / "model"
    shutil.copytree(natality_model, folder)
    shutil.rmtree(folder / "saved_model")
    loaded = tf.saved_model.load(f"{natality_model}/saved_model")
    signatures = {"serving_default": loaded.signatures["serving_default"]}
    tf.saved_model.save(loaded, str(folder / "saved_model"), signatures=signatures)
    return str(folder)


@pytest.fixture(scope="module", name="whole")
def whole_fixture(earlier_model: str) -> Scorer:
    return Scorer(earlier_model, rules="warn")


@pytest.fixture(scope="module", name="coded")
def coded_fixture(natality_model: str) -> Scorer:
    return Scorer(natality_model, rules="warn")


@pytest.fixture(name="calls")
def calls_fixture(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """For each call with codes, how many rows it answered; None where it left it to the whole model."""
    calls: list[int | None] = []
    call = CodedModel.__call__

    def counted(self: CodedModel, feeds: list[Feed], rows: int, filled: int) -> dict[str, Any] | None:
        outputs = call(self, feeds, rows, filled)
        calls.append(None if outputs is None else rows)
        return outputs

    monkeypatch.setattr(CodedModel, "__call__", counted)
    return calls


def births(columns: tuple[str, ...]) -> Rows:
    return next(read_part(Part(0, str(NATALITY / "births.csv")), columns, 10_000))


def bits(scorer: Scorer, rows: Rows) -> tuple[bytes, list[int]]:
    scored = scorer.score(rows)
    return scored.predictions.column("prediction").to_numpy().tobytes(), [row.row for row in scored.quarantined]


def test_predictions_have_the_bits_of_an_earlier_model(coded: Scorer, whole: Scorer, calls: list[int | None]) -> None:
    rows = births(coded.columns)
    expected = bits(whole, rows)
    assert calls == []
    assert bits(coded, rows) == expected
    assert calls == [1_449]
    # As Parquet is read.
    encoded = pa_csv.read_csv(NATALITY / "births.csv", convert_options=pa_csv.ConvertOptions(auto_dict_encode=True))
    batch = encoded.combine_chunks().to_batches()[0].select(list(coded.columns))
    assert bits(coded, Rows(rows.part, batch, rows.numbers)) == expected
    assert calls == [1_449, 1_449]


def test_rows_of_every_kind_have_the_bits_of_an_earlier_model(coded: Scorer, whole: Scorer) -> None:
    rows = births(coded.columns)
    columns = {name: rows.batch.column(name).to_pylist()[:96] for name in coded.columns}
    columns["plurality"][3:9] = ["never seen", "größer", " ", "single", "n" * 500, "Single"]
    columns["mother_race"][5] = "another"
    columns["cigarette_use"][:4] = [None, "", None, "true"]
    columns["weight_gain_pounds"][:4] = [None, "", " ", "-0.0"]
    columns["mother_age"][:6] = ["20", "25", "19.999999", "-7", "1e30", "40"]
    every = Rows(rows.part, pa.RecordBatch.from_pydict(columns), rows.numbers[:96])
    assert bits(coded, every) == bits(whole, every)
    together = np.frombuffer(bits(coded, every)[0], np.float32)
    alone = [Rows(rows.part, every.batch.slice(at, 1), every.numbers[at : at + 1]) for at in range(12)]
    assert [bits(coded, row)[0] for row in alone] == [value.tobytes() for value in together[:12]]


def test_rows_of_many_texts_are_left_to_the_whole_model(coded: Scorer, whole: Scorer, calls: list[int | None]) -> None:
    rows = births(coded.columns)
    texts = pa.array([f"text {number}" for number in range(rows.batch.num_rows)])
    at = rows.batch.schema.get_field_index("plurality")
    unique = Rows(rows.part, rows.batch.set_column(at, "plurality", texts), rows.numbers)
    assert bits(coded, unique) == bits(whole, unique)
    assert calls == [None]


def test_combinations_that_are_too_many_are_left_to_the_whole_model(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    from headrace.core.saved_model.interface import ModelInput

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def tables(**texts: Any) -> dict[str, Any]:
        first, second = (tf.strings.length(texts[f"texts_{at}"]) for at in range(2))
        return {"table_sum": tf.repeat(first, tf.size(second)) + tf.tile(second, tf.shape(first))}

    specs = {"code_0_1": tf.TensorSpec([None], tf.int32), "number_0": tf.TensorSpec([None], tf.float32)}
    specs["table_sum"] = tf.TensorSpec([None], tf.int32)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def predict(**inputs: Any) -> dict[str, Any]:
        return {"out": tf.cast(tf.gather(inputs["table_sum"], inputs["code_0_1"]), tf.float32) + inputs["number_0"]}

    signatures = {
        "text_tables": tables.get_concrete_function(
            **{f"texts_{at}": tf.TensorSpec([None], tf.string) for at in range(2)}
        ),
        "predict_by_code": predict.get_concrete_function(**specs),
    }
    assert CodedModel.of({"text_tables": signatures["text_tables"]}) is None
    model = CodedModel.of(signatures)
    assert model is not None
    feeds = [
        Feed(ModelInput("b", "string"), None, (pa.array(["x", "xx", "x", "xx"]),)),
        Feed(ModelInput("n", "float32"), np.array([0.5, 0.0, 0.0, 0.25], np.float32)),
        Feed(ModelInput("a", "string"), None, (pa.array(["xxx", "xxx", "", ""]),)),
    ]
    outputs = model(feeds, 4, 6)
    assert outputs is not None
    assert outputs["out"].numpy().tolist() == [4.5, 5.0, 1.0, 2.25, 2.25, 2.25]
    monkeypatch.setattr(coded_model, "MAX_COMBINATIONS", 3)
    assert model(feeds, 4, 6) is None
