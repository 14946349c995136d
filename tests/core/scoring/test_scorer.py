"""Rows scored by models of ours and of others: equal to what the model itself answers, and every row accounted for."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest

from headrace.components.score.batch.batcher import split
from headrace.core.artifacts.quarantine import Fault, QuarantinedRow
from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.core.scoring.answered import ScoredBatch
from headrace.core.scoring.scorer import Scorer
from headrace.core.sources.open import read_part
from headrace.core.sources.source import Part, Rows

NATALITY = Path(__file__).parents[3] / "examples" / "natality"
Save = Callable[..., str]
RowsOf = Callable[..., Rows]


def spec(dtype: str = "float32", name: str = "x", shape: Any = (None,)) -> Any:
    import tensorflow as tf

    return tf.TensorSpec(shape, dtype, name)


def output(scored: ScoredBatch, name: str) -> list[Any]:
    found: list[Any] = scored.predictions.column(name).to_pylist()
    return found


def reasons(scored: ScoredBatch) -> list[tuple[int, str | None, str]]:
    return [(row.row, row.fault.column, row.fault.reason) for row in scored.quarantined]


@pytest.fixture(scope="module")
def natality(natality_model: str) -> Scorer:
    return Scorer(natality_model)


@pytest.fixture(scope="module")
def births(natality: Scorer) -> Rows:
    """The births of the examples, from CSV, which is text."""
    return next(read_part(Part(0, str(NATALITY / "births.csv")), natality.columns, 10_000))


def test_a_model_of_ours_says_what_it_takes(natality: Scorer) -> None:
    assert natality.model_version == "a" * 16
    assert natality.columns[:3] == ("record_id", "cigarette_use", "gestation_weeks")
    assert [taken.name for taken in natality.takes.inputs if taken.optional] == ["cigarette_use", "weight_gain_pounds"]
    assert (
        natality.takes.text().splitlines()[3]
        == 'cigarette_use       string   [rows]  cigarette_use (may be missing: "")'
    )
    assert natality.schema(pa.int64()) == pa.schema(
        [
            ("record_id", pa.int64()),
            ("prediction", pa.float32()),
            ("model_version", pa.dictionary(pa.int32(), pa.string())),
        ]
    )


def test_predictions_equal_the_models_own_answers(natality: Scorer, births: Rows, natality_model: str) -> None:
    import tensorflow as tf

    scored = natality.score(births)
    chosen = births.batch.filter(pa.array(np.isin(births.numbers, scored.numbers)))
    model = tf.saved_model.load(f"{natality_model}/saved_model").signatures["serving_default"]
    inputs: dict[str, Any] = {"key": chosen.column("record_id").to_pylist()}
    for taken in natality.takes.inputs:
        values = chosen.column(taken.name).to_pylist()
        text = taken.dtype == "string"
        inputs[taken.name] = [v or "" if text else float(v or "nan") for v in values]
    # In whole blocks of rows the same bits; the last rows of a call that is none may differ in the last of them.
    assert len(inputs["key"]) == 1_449
    whole = {name: tf.constant(values[:1_440]) for name, values in inputs.items()}
    assert output(scored, "prediction")[:1_440] == model(**whole)["prediction"].numpy().tolist()
    every = model(**{name: tf.constant(values) for name, values in inputs.items()})
    np.testing.assert_allclose(output(scored, "prediction"), every["prediction"].numpy(), rtol=2e-6)
    assert output(scored, "record_id") == inputs["key"] == [key.decode() for key in every["key"].numpy()]
    assert set(output(scored, "model_version")) == {"a" * 16}


def test_rows_that_lack_what_the_model_needs_are_quarantined(natality: Scorer, births: Rows) -> None:
    scored = natality.score(births)
    with (NATALITY / "births.csv").open(newline="") as file:
        raw = list(csv.DictReader(file))
    lacking = [number for number, row in enumerate(raw, 1) if not row["gestation_weeks"]]
    assert [(row, "gestation_weeks", "missing_value") for row in lacking] == reasons(scored)
    assert scored.quarantined[0].values["record_id"] == raw[lacking[0] - 1]["record_id"]
    assert len(scored.numbers) + len(scored.quarantined) == len(raw) == 1_450


@pytest.mark.parametrize("size", [1, 7, 48, 100, 1_000])
def test_which_rows_share_a_batch_changes_no_bit(natality: Scorer, births: Rows, size: int) -> None:
    whole = natality.score(births)
    rows = births if size > 1 else Rows(births.part, births.batch.slice(0, 60), births.numbers[:60])
    pieces = [natality.score(piece) for piece in split(rows, size)]
    joined = pa.Table.from_batches([piece.predictions for piece in pieces])
    assert joined.equals(pa.Table.from_batches([whole.predictions]).slice(0, joined.num_rows))
    assert [row for piece in pieces for row in piece.quarantined] == list(whole.quarantined)[: len(rows.numbers)][
        : sum(len(piece.quarantined) for piece in pieces)
    ]


@pytest.mark.parametrize("ulps", [0, 1])
def test_a_model_is_given_codes_where_that_changes_no_bit(
    natality: Scorer, births: Rows, natality_model: str, monkeypatch: pytest.MonkeyPatch, ulps: int
) -> None:
    import tensorflow as tf

    from headrace.core.scoring.distinct_texts.coded_model import CodedModel

    calls = []
    call = CodedModel.__call__

    def moved(self: CodedModel, feeds: Any, rows: int, filled: int) -> dict[str, Any] | None:
        calls.append(filled)
        made = call(self, feeds, rows, filled)
        assert made is not None
        return {"prediction": tf.math.nextafter(made["prediction"], float("inf")) if ulps else made["prediction"]}

    expected = natality.score(births).predictions
    monkeypatch.setattr(CodedModel, "__call__", moved)
    scorer = Scorer(natality_model)
    assert calls == [960]
    assert scorer.score(births).predictions.equals(expected)
    assert calls == ([960] if ulps else [960, 1_488])


def test_text_and_typed_columns_give_the_same_predictions(natality: Scorer, births: Rows) -> None:
    typed = pa_csv.read_csv(NATALITY / "births.csv").combine_chunks().to_batches()[0]
    dictionary = pa_csv.ConvertOptions(auto_dict_encode=True)
    encoded = pa_csv.read_csv(NATALITY / "births.csv", convert_options=dictionary).combine_chunks().to_batches()[0]
    expected = output(natality.score(births), "prediction")
    for batch in (typed, encoded):
        assert output(natality.score(Rows(births.part, batch, births.numbers)), "prediction") == expected


def test_several_threads_share_a_scorer(natality: Scorer, births: Rows) -> None:
    expected = natality.score(births).predictions
    found: list[bool] = []

    def work() -> None:
        found.extend(natality.score(births).predictions.equals(expected) for _ in range(3))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 12


@pytest.mark.parametrize(
    "keys",
    [
        pa.array([7, 8, 9]),
        pa.array(["a", "b", "c"]),
        pa.array([b"\xff", b"b", b"c"]),
        pa.array(["a", "b", "a"]).dictionary_encode(),
        pa.array([1.5, 2.5, 3.5]),
        pa.array([0, 1, 2], pa.timestamp("us", "UTC")),
        pa.array([b"0123", b"4567", b"89ab"], pa.binary(4)),
    ],
    ids=lambda keys: str(keys.type),
)
def test_keys_pass_through_whatever_their_type(save: Save, rows_of: RowsOf, keys: pa.Array) -> None:
    scorer = Scorer(save(lambda x: {"y": x + 1}, spec()), key="id")
    batch = pa.RecordBatch.from_arrays([keys, pa.array([1.0, None, 3.0])], names=["id", "x"])
    scored = scorer.score(rows_of(batch))
    assert scored.predictions.column("id").equals(keys.take(pa.array([0, 2])))
    assert scored.predictions.schema == scorer.schema(keys.type)
    assert output(scored, "y") == [2.0, 4.0]


def test_a_row_without_a_key_is_quarantined(save: Save, rows_of: RowsOf) -> None:
    scorer = Scorer(save(lambda x: {"y": x}, spec()), key="id")
    scored = scorer.score(rows_of({"id": ["a", None, ""], "x": [1, 2, None]}))
    assert reasons(scored) == [(2, "id", "missing_key"), (3, "id", "missing_key")]
    assert [fault.reason for fault in scored.quarantined[1].also] == ["missing_value"]
    assert Scorer(save(lambda x: {"y": x}, spec())).score(rows_of({"x": [1]})).predictions.schema.names == [
        "y",
        "model_version",
    ]


def test_keras_with_one_dense_input_fed_from_columns(tmp_path: Path, rows_of: RowsOf) -> None:
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,), name="features")
    hidden = keras.layers.Dense(32, activation="relu")(inputs)
    model = keras.Model(inputs, {"mean": keras.layers.Dense(1)(hidden), "logits": keras.layers.Dense(3)(hidden)})
    model.export(str(tmp_path / "m"), verbose=False)
    scorer = Scorer(str(tmp_path / "m"), key="id", inputs=["d", "a", "c", "b"])
    values = np.random.default_rng(0).normal(size=(1_000, 4)).astype(np.float32)
    columns = {name: values[:, at] for at, name in enumerate(["d", "a", "c", "b"])}
    scored = scorer.score(rows_of({"id": range(1_000), **columns}))
    mine = model(tf.constant(np.concatenate([values, np.repeat(values[-1:], 8, axis=0)])))
    assert output(scored, "mean") == mine["mean"].numpy()[:1_000, 0].tolist()
    assert output(scored, "logits") == mine["logits"].numpy()[:1_000].tolist()
    assert scored.predictions.schema.field("logits").type == pa.list_(pa.float32(), 3)
    # A column of lists holds the same.
    lists = Scorer(str(tmp_path / "m"), inputs={"features": "v"})
    again = lists.score(rows_of({"v": pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 4)}))
    assert output(again, "logits") == output(scored, "logits")


def test_keras_with_text_and_numbers(tmp_path: Path, rows_of: RowsOf) -> None:
    import keras
    import tensorflow as tf

    color, size = keras.Input((1,), name="color", dtype="string"), keras.Input((1,), name="size")
    one_hot = keras.layers.StringLookup(vocabulary=["red", "blue"], output_mode="one_hot")(color)
    model = keras.Model([color, size], keras.layers.Dense(1)(keras.layers.Concatenate()([one_hot, size])))
    model.export(str(tmp_path / "m"), verbose=False)
    scorer = Scorer(str(tmp_path / "m"))
    assert [(taken.name, taken.width) for taken in scorer.takes.inputs] == [("color", 1), ("size", 1)]
    colors, sizes = ["red", "green", "blue"] * 16, [float(n) for n in range(48)]
    scored = scorer.score(rows_of({"color": colors, "size": sizes}))
    mine = model([tf.constant(colors)[:, None], tf.constant(sizes)[:, None]]).numpy()[:, 0].tolist()
    assert output(scored, scorer.takes.outputs[0].name) == mine


def test_inputs_and_outputs_of_every_kind(save: Save, rows_of: RowsOf) -> None:
    import tensorflow as tf

    def answer(text: Any, count: Any, flag: Any, half: Any, words: Any) -> Any:
        return {
            "text": tf.strings.upper(text),
            "count": count + 1,
            "flag": tf.logical_not(flag),
            "half": half * 2,
            "word": tf.strings.reduce_join(words, 1),
            "words": words,
            "wide": tf.stack([half, half], 1),
        }

    path = save(
        answer,
        spec("string", "text"),
        spec("int32", "count"),
        spec("bool", "flag"),
        spec("bfloat16", "half"),
        spec("string", "words", (None, 2)),
    )
    scorer = Scorer(path, inputs={"words": ["first", "second"]})
    scored = scorer.score(
        rows_of(
            {
                "text": ["a", "é"],
                "count": [1, 2],
                "flag": [True, False],
                "half": [1.5, 2.5],
                "first": ["x", "y"],
                "second": [1, 2],
            }
        )
    )
    assert scored.quarantined == ()
    assert scored.predictions.drop_columns(["model_version"]).to_pydict() == {
        "count": [2, 3],
        "flag": [False, True],
        "half": [3.0, 5.0],
        "text": ["A", "é"],
        "wide": [[1.5, 1.5], [2.5, 2.5]],
        "word": ["x1", "y2"],
        "words": [["x", "1"], ["y", "2"]],
    }


def test_a_key_that_another_model_computes_with_is_the_column_key(save: Save, rows_of: RowsOf) -> None:
    import tensorflow as tf

    path = save(
        lambda key, x: {"key": tf.identity(key), "y": tf.strings.length(key) + 0 * tf.cast(x, tf.int32)},
        spec("string", "key"),
        spec(),
    )
    rows = rows_of({"id": [7, 8], "key": ["a", "bcd"], "x": [1, 2]})
    plain = {"key": ["a", "bcd"], "y": [1, 3]}
    for key, also in ((None, {}), ("key", {}), ("id", {"id": [7, 8]})):
        scored = Scorer(path, key=key).score(rows)
        assert scored.predictions.drop_columns(["model_version"]).to_pydict() == {**also, **plain}
    fed = Scorer(path, key="id", inputs={"key": "id"}).score(rows_of({"id": [7, 88], "x": [1, 2]}))
    assert fed.predictions.drop_columns(["model_version"]).to_pydict() == {
        "id": [7, 88],
        "key": ["7", "88"],
        "y": [1, 2],
    }
    with pytest.raises(DataError, match=r"key: a column is missing from the rows.*for the model's input key"):
        Scorer(path).score(rows_of({"x": [1, 2]}))


def test_a_key_that_a_model_only_gives_back_is_left_out_where_rows_have_none(save: Save, rows_of: RowsOf) -> None:
    import tensorflow as tf

    path = save(lambda key, x: {"key": tf.identity(key), "y": x + 1}, spec("string", "key"), spec())
    assert output(Scorer(path).score(rows_of({"x": [1, 2]})), "y") == [2, 3]
    scored = Scorer(path, key="id").score(rows_of({"id": [7, 88], "x": [1, 2]}))
    assert scored.predictions.drop_columns(["model_version"]).to_pydict() == {"id": [7, 88], "y": [2, 3]}


@pytest.fixture(scope="module")
def picky(save: Save) -> Scorer:
    """A model that fails on 1 row in 100 of those numbered from 0, and answers NaN for another one."""
    import tensorflow as tf

    def answer(x: Any) -> Any:
        guilty = tf.equal(tf.math.floormod(x, 100.0), 37.0)
        with tf.control_dependencies([tf.debugging.assert_equal(tf.reduce_any(guilty), False, "x ends in 37")]):
            nan = tf.equal(tf.math.floormod(x, 100.0), 64.0)
            return {"y": tf.where(nan, float("nan"), x * 0.5), "pair": tf.stack([x, tf.where(nan, x / 0.0, x)], 1)}

    return Scorer(save(answer, spec()), key="id")


def test_rows_on_which_the_model_fails_are_quarantined_and_the_rest_is_scored(picky: Scorer, rows_of: RowsOf) -> None:
    count = 2_000
    scored = picky.score(rows_of({"id": range(count), "x": np.arange(count, dtype=np.float32)}))
    failed = [n for n in range(count) if n % 100 == 37]
    infinite = [n for n in range(count) if n % 100 == 64]
    good = sorted(set(range(count)) - {*failed, *infinite})
    assert output(scored, "id") == good
    assert output(scored, "y") == [n * 0.5 for n in good]
    assert output(scored, "pair") == [[n, n] for n in good]
    assert scored.numbers.tolist() == [n + 1 for n in good]
    assert [(row.row - 1, row.fault.reason) for row in scored.quarantined] == sorted(
        [*((n, "model_failed") for n in failed), *((n, "not_finite") for n in infinite)]
    )
    first, second = scored.quarantined[:2]
    assert "x ends in 37" in first.fault.message
    assert first.values == {"id": 37, "x": 37.0}
    assert second.fault.message == "the model's output pair is not a finite number"
    assert [fault.message for fault in second.also] == ["the model's output y is not a finite number"]


def test_a_batch_that_fails_whole_leaves_no_prediction(picky: Scorer, rows_of: RowsOf) -> None:
    scored = picky.score(rows_of({"id": [1, 2], "x": [37.0, 137.0]}))
    assert reasons(scored) == [(1, None, "model_failed"), (2, None, "model_failed")]
    assert scored.predictions.num_rows == 0
    assert scored.predictions.schema == picky.schema(pa.int64())
    empty = picky.score(rows_of({"id": pa.array([], pa.int64()), "x": pa.array([], pa.float32())}))
    assert empty.predictions.schema == picky.schema(pa.int64())


def test_few_calls_find_a_guilty_row(picky: Scorer, rows_of: RowsOf, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    call = picky._call

    def counted(feeds: Any, rows: int) -> Any:
        calls.append(rows)
        return call(feeds, rows)

    monkeypatch.setattr(picky, "_call", counted)
    picky.score(rows_of({"id": range(1_024), "x": [37.0 if n == 700 else 1.0 for n in range(1_024)]}))
    assert len(calls) == 12


def test_poisoned_rows_change_no_bit_of_the_others(natality: Scorer, births: Rows) -> None:
    clean = natality.score(births)
    columns = births.batch.to_pydict()
    poisons = {"mother_age": "old", "gestation_weeks": "1e99", "weight_gain_pounds": "inf", "is_male": ""}
    poisoned = list(range(5, 1_450, 100))
    for at, (row, name) in enumerate(zip(poisoned, [*poisons] * 4, strict=False)):
        columns[name][row] = poisons[name]
        del at
    scored = natality.score(Rows(births.part, pa.RecordBatch.from_pydict(columns), births.numbers))
    bad = {row + 1 for row in poisoned}
    assert {row.row for row in scored.quarantined} == bad | {row.row for row in clean.quarantined}
    kept = ~np.isin(clean.numbers, list(bad))
    assert scored.predictions.equals(clean.predictions.filter(pa.array(kept)))


def test_refused_rows_are_kept_in_order(picky: Scorer) -> None:
    refused = QuarantinedRow("rows.csv", 2, Fault(None, "malformed_row", "no row"), {})
    batch = pa.RecordBatch.from_pydict({"id": [1, 3, 4], "x": [1.0, None, 5.0]})
    scored = picky.score(Rows(Part(0, "rows.csv"), batch, np.array([1, 3, 4]), (refused,)))
    assert reasons(scored) == [(2, None, "malformed_row"), (3, "x", "missing_value")]
    assert scored.numbers.tolist() == [1, 4]


def test_text_that_is_not_utf8_is_no_prediction(save: Save, rows_of: RowsOf) -> None:
    scorer = Scorer(save(lambda x: {"y": x}, spec("string")), key="id")
    scored = scorer.score(rows_of({"id": [1, 2, 3], "x": [b"a", b"\xff", b"\xc3\xa9\x00"]}))
    assert output(scored, "y") == ["a", "é\x00"]
    said = "the model's output y is not UTF-8 text (an output whose name ends in _bytes is bytes)"
    assert [row.fault.message for row in scored.quarantined] == [said]


def test_a_model_that_does_not_answer_every_row_is_refused(save: Save) -> None:
    path = save(lambda x: {"y": x[:1]}, spec())
    with pytest.raises(DataError, match=r"output y: the model did not answer every row. Expected 48 rows. Rec.*\[1\]"):
        Scorer(path)


def test_a_model_that_refuses_zeros_is_loaded_nevertheless(save: Save, rows_of: RowsOf) -> None:
    import tensorflow as tf

    def positive(x: Any) -> Any:
        with tf.control_dependencies([tf.debugging.assert_positive(x)]):
            return {"y": tf.identity(x)}

    scorer = Scorer(save(positive, spec()))
    assert output(scorer.score(rows_of({"x": [1.0, 0.0, 2.0]})), "y") == [1.0, 2.0]


def test_a_device_without_memory_is_no_fault_of_a_row(
    save: Save, rows_of: RowsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    scorer = Scorer(save(lambda x: {"y": x}, spec()))
    model = scorer._model

    def small(most: int) -> Callable[[Any], Any]:
        def call(tensors: Any) -> Any:
            if len(tensors["x"]) > most:
                raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
            return model(tensors)

        return call

    monkeypatch.setattr(scorer, "_model", small(96))
    scored = scorer.score(rows_of({"x": np.arange(1_000)}))
    assert (output(scored, "y"), scored.quarantined) == (list(range(1_000)), ())
    monkeypatch.setattr(scorer, "_model", small(0))
    with pytest.raises(PlatformError, match=r"the model failed. Received: out of memory"):
        scorer.score(rows_of({"x": [1, 2]}))


def test_what_the_user_says_is_checked(save: Save, tmp_path: Path, rows_of: RowsOf) -> None:
    path = save(lambda x: {"y": x}, spec())
    with pytest.raises(UsageError, match="the model to serve does not exist"):
        Scorer(str(tmp_path))
    with pytest.raises(UsageError, match=r"two columns of the predictions have the same name.*Received: y"):
        Scorer(path, key="y")
    with pytest.raises(UsageError, match=r"the input does not exist in the model. Expected one of x. Received: z"):
        Scorer(path, optional=["z"])
    scorer = Scorer(path, key="id", optional=["x"])
    with pytest.raises(DataError, match=r"id: the key's column is missing from the rows"):
        scorer.score(rows_of({"x": [1]}))
    assert [v != v for v in output(Scorer(path, optional=["x"]).score(rows_of({"x": [1, 2]})), "y")] == [False] * 2


def test_the_version_of_a_saved_model_is_a_digest_of_it(save: Save) -> None:
    path = save(lambda x: {"y": x}, spec())
    version = Scorer(path).model_version
    assert len(version) == 16
    assert Scorer(path).model_version == version
    assert Scorer(save(lambda x: {"y": x + 1}, spec())).model_version != version
