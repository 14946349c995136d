"""Models that others wrote: TensorFlow 1, Examples, fixed batches, constants, lists, bytes, extreme numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support.tf1_models import estimator_model, session_model

from headrace.core.errors import DataError, UsageError
from headrace.core.scoring.scorer import Scorer
from headrace.core.sources.open import list_parts, read_part
from headrace.core.sources.source import Rows

Save = Callable[..., str]
RowsOf = Callable[..., Rows]


def spec(shape: Any = (None,), dtype: str = "float32", name: str = "x") -> Any:
    import tensorflow as tf

    return tf.TensorSpec(shape, dtype, name)


def got(scored: Any) -> dict[str, list[Any]]:
    plain: dict[str, list[Any]] = scored.predictions.drop_columns(["model_version"]).to_pydict()
    return plain


def faults(scored: Any) -> list[tuple[int, str]]:
    return [(row.row, row.fault.reason) for row in scored.quarantined]


def test_nested_lists_are_tensors_of_rank_3_and_more(save: Save, rows_of: RowsOf) -> None:
    import tensorflow as tf

    path = save(
        lambda x, t: {"turned": tf.transpose(x, [0, 2, 1]), "joined": tf.strings.join([t, t]), "sum": x[:, 0, 0]},
        spec((None, 2, 3)),
        spec((None, 1, 2), "string", "t"),
    )
    good = [[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [[7.0, 8.0, 9.0], [0.0, 0.5, 0.25]]]
    other = [[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [[1.0] * 3], [[1.0] * 3, [1.0, None, 1.0]], None, [[1.0] * 3, None]]
    x = [good[0], *other, good[1]]
    texts = [[["a", "b"]]] * 6 + [[["é", "ü"]]]
    scorer = Scorer(path)
    fixed = pa.list_(pa.list_(pa.float32(), 3), 2)
    for kind in (pa.list_(pa.list_(pa.float64())), pa.large_list(pa.list_(pa.float32()))):
        scored = scorer.score(rows_of({"x": pa.array(x, kind), "t": texts}))
        assert got(scored)["turned"] == [[list(pair) for pair in zip(*row, strict=True)] for row in good]
        assert got(scored)["joined"] == [[["aa", "bb"]], [["éé", "üü"]]]
        reasons = ["malformed_row", "malformed_row", "missing_value", "missing_value", "malformed_row"]
        assert faults(scored) == list(zip(range(2, 7), reasons, strict=True))
    message = scored.quarantined[0].fault.message
    assert message == "x is [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], which is not of shape [2, 3]"
    assert scored.predictions.schema.field("turned").type == pa.list_(pa.list_(pa.float32(), 2), 3)
    both = scorer.score(rows_of({"x": pa.array([good[0], None, good[1]], fixed), "t": texts[:2] + texts[-1:]}))
    assert got(both)["turned"] == got(scored)["turned"]
    # The values as columns of their own, in the order of the tensor.
    flat = {f"c{n}": [float(n)] for n in range(6)}
    named = Scorer(path, inputs={"x": list(flat)}).score(rows_of({**flat, "t": texts[:1]}))
    assert got(named)["turned"] == [[[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]]
    with pytest.raises(DataError, match=r"lists nested 2 deep, for the model's input x \[rows, 2, 3\]"):
        scorer.score(rows_of({"x": [[1.0] * 6], "t": texts[:1]}))


@pytest.mark.parametrize("rows", [1000, 3])
def test_nested_lists_of_any_size_are_scored_whatever_the_batch(save: Save, rows_of: RowsOf, rows: int) -> None:
    """Sequences of vectors, and pictures of any size."""
    import tensorflow as tf

    path = save(
        lambda x, t: {
            "twice": x * 2,
            "total": tf.reduce_sum(x, [1, 2]),
            "joined": tf.strings.reduce_join(tf.strings.join([t, t]), 2),
        },
        spec((None, None, 2)),
        spec((None, None, None), "string", "t"),
    )
    x = [[[1.0, 2.0]] * (n % 4) if n % 7 else [[float(n), 0.5], [3.0, n]] for n in range(20)]
    t = [[["a", "b"][: 1 + n % 2]] * (1 + n % 3) for n in range(20)]
    bad = [[[1.0, 2.0], [3.0]], [1.0], None, [[1.0, 2.0], None], [[1.0, 2.0, 3.0]]]
    ragged = [["a"], ["b", "c"]]
    table = {"x": [*x, *bad[:1], *bad[2:], x[0]], "t": [*t, *[t[0]] * 4, ragged]}
    scorer = Scorer(path)
    wide = pa.list_(pa.list_(pa.float32()))
    batch = {"x": pa.array(table["x"], wide), "t": table["t"]}
    found: dict[str, list[Any]] = {}
    refused: list[tuple[int, str]] = []
    for begin in range(0, 25, rows):
        some = {name: column[begin : begin + rows] for name, column in batch.items()}
        scored = scorer.score(rows_of(some))
        refused += [(begin + row, reason) for row, reason in faults(scored)]
        for name, values in got(scored).items():
            found[name] = found.get(name, []) + values
    assert found["twice"] == [[[2 * value for value in pair] for pair in row] for row in x]
    assert found["total"] == [sum(map(sum, row)) for row in x]
    assert found["joined"] == [["".join(word * 2 for word in line) for line in row] for row in t]
    reasons = ["malformed_row", "missing_value", "malformed_row", "malformed_row", "malformed_row"]
    assert refused == list(zip(range(21, 26), reasons, strict=True))


def test_an_output_of_one_value_per_call_is_for_whole_calls_only(save: Save, rows_of: RowsOf) -> None:
    import tensorflow as tf

    path = save(lambda x: {"y": x, "total": tf.reduce_sum(x)}, spec())
    with pytest.raises(DataError, match=r"output total is one value per call, not one per row.*--batch whole"):
        Scorer(path)
    scored = Scorer(path, whole=True).score(rows_of({"x": [1.0, 2.0, 4.0]}))
    assert got(scored) == {"total": [7.0, 7.0, 7.0], "y": [1.0, 2.0, 4.0]}


@pytest.mark.parametrize(
    "tags",
    [[["serve"]], [["serve", "gpu"]], [["train"], ["serve", "gpu"], ["serve"]]],
    ids=["serve", "serve and gpu", "several graphs"],
)
def test_a_graph_of_tensorflow_1_with_a_table(tmp_path: Path, rows_of: RowsOf, tags: list[list[str]]) -> None:
    scorer = Scorer(session_model(tmp_path / "m", tags), signature="predict", inputs={"x": ["p", "q"]})
    scored = scorer.score(rows_of({"p": [1, 3], "q": [2, 4], "w": ["b", "a"]}))
    assert got(scored) == {"index": [1, 0], "y": [3.0, 7.0]}


def test_graphs_of_which_none_is_for_serving_are_refused(tmp_path: Path) -> None:
    path = session_model(tmp_path / "m", [["train"], ["eval"]])
    with pytest.raises(
        DataError, match=r"none of the SavedModel's graphs is tagged for serving.*Received: train; eval"
    ):
        Scorer(path, signature="predict")


@pytest.fixture(scope="module")
def estimator(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An Estimator's export with the words a, b."""
    return estimator_model(tmp_path_factory.mktemp("estimator") / "m", ["a", "b"])


@pytest.fixture
def examples(tmp_path: Path) -> str:
    """Three Examples in a TFRecord file, of which one lacks the word, and one is compressed in a file of its own."""
    import tensorflow as tf

    def example(age: float, word: str | None) -> bytes:
        features = {"age": tf.train.Feature(float_list=tf.train.FloatList(value=[age]))}
        if word is not None:
            features["word"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[word.encode()]))
        features["id"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[int(age)]))
        return bytes(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())

    folder = tmp_path / "data"
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "a.tfrecord")) as writer:
        for one in (example(1.0, "a"), example(2.0, None), example(3.0, "b")):
            writer.write(one)
    with tf.io.TFRecordWriter(str(folder / "b.tfrecord.gz"), "GZIP") as writer:
        writer.write(example(4.0, "b"))
    return str(folder)


def rows_in(data: str, scorer: Scorer) -> list[Rows]:
    return [rows for part in list_parts(data) for rows in read_part(part, scorer.columns, 100)]


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        ("serving_default", {"outputs": [1.0, 4.0, 5.0]}),
        ("regression", {"outputs": [1.0, 4.0, 5.0]}),
        (
            "classification",
            {"classes": [["up", "down"]] * 3, "scores": [[1.0, -1.0], [4.0, -4.0], [5.0, -5.0]]},
        ),
        ("predict", {"all_classes": [["up", "down"]] * 3}),
    ],
)
def test_serialized_examples_are_scored_from_tfrecords_as_they_lie(
    estimator: str, examples: str, signature: str, expected: dict[str, Any]
) -> None:
    scorer = Scorer(estimator, signature=signature, key="id")
    assert scorer.columns == ("id", "@example")
    scored = [scorer.score(rows) for rows in rows_in(examples, scorer)]
    assert [faults(one) for one in scored] == [[(2, "model_failed")], []]
    together = {name: [value for one in scored for value in got(one)[name]] for name in ("id", *expected)}
    assert together == {"id": [1, 3, 4], **expected}


def test_a_signature_of_raw_features_and_the_list_of_signatures(estimator: str, rows_of: RowsOf) -> None:
    scored = Scorer(estimator, signature="raw").score(rows_of({"age": [1, 2], "word": ["b", "x"]}))
    assert got(scored) == {"total": [2.0, 4.0]}
    names = "classification, predict, raw, regression, serving_default"
    with pytest.raises(DataError, match=rf"Expected a signature other. Received: {names}. Choose one .* --signature"):
        Scorer(estimator, signature="other")


def test_rows_that_are_no_examples_are_refused_and_a_column_of_them_is_not(estimator: str, rows_of: RowsOf) -> None:
    import tensorflow as tf

    scorer = Scorer(estimator)
    with pytest.raises(DataError, match=r"reads serialized tf.train.Examples, which these rows are not.*--signature"):
        scorer.takes.columns_among(["age", "word"])
    value = tf.train.Example()
    value.features.feature["age"].float_list.value.append(2.0)
    value.features.feature["word"].bytes_list.value.append(b"b")
    fed = Scorer(estimator, inputs={"inputs": "record"})
    assert got(fed.score(rows_of({"record": [value.SerializeToString()] * 2}))) == {"outputs": [3.0, 3.0]}


def test_assets_are_part_of_the_version(tmp_path: Path) -> None:
    one, same, other = (
        Scorer(estimator_model(tmp_path / name, words)).model_version
        for name, words in (("a", ["a", "b"]), ("b", ["a", "b"]), ("c", ["b", "a"]))
    )
    del same
    path = tmp_path / "a" / "assets"
    assert one != other
    (asset,) = path.iterdir()
    asset.write_text("b\na\n")
    assert Scorer(str(tmp_path / "a")).model_version != one


@pytest.mark.parametrize("rows", [1, 5, 32, 33, 70])
def test_a_fixed_number_of_rows_is_what_every_call_has(save: Save, rows_of: RowsOf, rows: int) -> None:
    scorer = Scorer(save(lambda x: {"y": x[:, 0] * 2 + x[:, 1]}, spec((32, 2))))
    assert scorer.takes.batch == 32
    calls = []
    model = scorer._model
    scorer._model = lambda tensors: calls.append(len(tensors["x"])) or model(tensors)  # type: ignore[assignment]
    x = [[float(n), 1.0] for n in range(rows)]
    assert got(scorer.score(rows_of({"x": x}))) == {"y": [2.0 * n + 1 for n in range(rows)]}
    assert set(calls) == {32}


def test_inputs_of_different_numbers_of_rows_are_refused(save: Save) -> None:
    path = save(lambda x, z: {"y": x, "z": z}, spec((4,)), spec((8,), name="z"))
    with pytest.raises(DataError, match=r"of different numbers of rows.*x float32 of shape \(4,\), z float32 of shape"):
        Scorer(path)


def test_inputs_of_one_value_for_all_rows_are_constants(save: Save, rows_of: RowsOf) -> None:
    import tensorflow as tf

    path = save(
        lambda x, threshold, unit, on: {
            "y": tf.where(on, x > threshold, x < threshold),
            "u": tf.fill(tf.shape(x), unit),
        },
        spec(),
        spec((), "float32", "threshold"),
        spec((), "string", "unit"),
        spec((), "bool", "on"),
    )
    scorer = Scorer(path, constants={"threshold": "1.5", "unit": "kg", "on": "true"})
    assert got(scorer.score(rows_of({"x": [1, 2]}))) == {"u": ["kg", "kg"], "y": [False, True]}
    assert "threshold  float32  []      the constant 1.5" in scorer.takes.text()
    with pytest.raises(UsageError, match=r"--constant.*Expected NAME=VALUE for on \(bool\), unit \(string\)"):
        Scorer(path, constants={"threshold": 1})
    with pytest.raises(
        UsageError, match=r"shape \[\] with this name does not exist.*Expected one of on, threshold, unit. Rec.*: x"
    ):
        Scorer(path, constants={"x": 1})
    for value in ("1e39", "nan", "much", ""):
        with pytest.raises(UsageError, match=r"the value of threshold is not of its dtype\. Expected a float32"):
            Scorer(path, constants={"threshold": value, "unit": "", "on": 1})


def test_no_rows_at_all_are_refused(save: Save) -> None:
    with pytest.raises(DataError, match=r"the signature reads no rows.*Received: x float32 of shape \[\]"):
        Scorer(save(lambda x: {"y": x}, spec(())))


def test_every_dtype_goes_in_and_comes_out_exactly(save: Save, rows_of: RowsOf) -> None:
    extremes: dict[str, list[Any]] = {
        "int64": [-(2**63), 2**63 - 1, 9007199254740993],
        "uint8": [0, 255, 7],
        "int8": [-128, 127, 0],
        "uint64": [0, 2**64 - 1, 2**63],
        "float64": [1e300, -1e39, 0.1],
        "float16": [65504.0, 0.5, -1.0],
        "bool": [True, False, True],
    }
    for dtype, values in extremes.items():
        scorer = Scorer(save(lambda x: {"y": x}, spec(dtype=dtype)))
        kind = pa.from_numpy_dtype(np.dtype(dtype)) if dtype != "float16" else pa.float64()
        assert got(scorer.score(rows_of({"x": pa.array(values, kind)}))) == {"y": values}
        lists = Scorer(save(lambda x: {"y": x}, spec((None, 2), dtype)))
        pairs = [values[:2], values[1:]]
        assert got(lists.score(rows_of({"x": pa.array(pairs, pa.list_(kind))}))) == {"y": pairs}


def test_huge_finite_numbers_are_faults_of_their_rows(save: Save, rows_of: RowsOf) -> None:
    huge = [1.0, 1e300, -1e39, 2.0, math.inf]
    floats = Scorer(save(lambda x: {"y": x}, spec()))
    for column in (huge, [str(v) for v in huge], ["1", "1" + "0" * 400, "-1e39", "2", "inf"]):
        scored = floats.score(rows_of({"x": column}))
        assert (got(scored), [row for row, _ in faults(scored)]) == ({"y": [1.0, 2.0]}, [2, 3, 5])
    doubles = Scorer(save(lambda x: {"y": x}, spec(dtype="float64")))
    scored = doubles.score(rows_of({"x": ["1e39", "1e300", "5e-324", "1e400"]}))
    assert (got(scored), len(faults(scored))) == ({"y": [1e39, 1e300, 5e-324]}, 1)
    beyond = {"uint8": ["255", "256", "-1", "1e300"], "int64": [str(2**63 - 1), str(2**63), "1e19", "1e300"]}
    for dtype, values in beyond.items():
        scored = Scorer(save(lambda x: {"y": x}, spec(dtype=dtype))).score(rows_of({"x": values}))
        assert (got(scored), len(faults(scored))) == ({"y": [int(values[0])]}, 3)
    listed = Scorer(save(lambda x: {"y": x}, spec((None, None)))).score(rows_of({"x": [[1.0, 2.0], [1e300], [3.0]]}))
    assert (got(listed), faults(listed)) == ({"y": [[1.0, 2.0], [3.0]]}, [(2, "out_of_range")])


@pytest.mark.parametrize("batch", [1, 3, 10])
def test_lists_of_any_length_are_scored_whatever_the_batch(save: Save, rows_of: RowsOf, batch: int) -> None:
    import tensorflow as tf

    scorer = Scorer(
        save(
            lambda x, w: {"total": tf.reduce_sum(x, 1) + tf.shape(w)[1], "same": x},
            spec((None, None), "int32"),
            spec((None, None), "string", "w"),
        )
    )
    lists = [[1, 2, 3], [4, 5], [6, 7, 8], [], [9], [1, 1], [2], [3, 3, 3], [None], [5]]
    words = [["a"] * (number % 2) for number in range(10)]
    column, texts = pa.array(lists, pa.list_(pa.int64())), pa.array(words, pa.list_(pa.string()))
    scored = [
        scorer.score(rows_of({"x": column[at : at + batch], "w": texts[at : at + batch]}, at + 1))
        for at in range(0, 10, batch)
    ]
    good = [at for at in range(10) if at != 8]
    assert [value for one in scored for value in got(one)["total"]] == [sum(lists[at]) + at % 2 for at in good]
    assert [value for one in scored for value in got(one)["same"]] == [lists[at] for at in good]
    assert [n for one in scored for n in one.numbers.tolist()] == [at + 1 for at in good]
    assert [fault for one in scored for fault in faults(one)] == [(9, "missing_value")]


def test_a_row_that_fails_is_found_among_lists_of_other_lengths(save: Save, rows_of: RowsOf) -> None:
    import tensorflow as tf

    def picky(x: Any) -> Any:
        with tf.control_dependencies([tf.debugging.assert_less(x, 100.0)]):
            return {"y": tf.reduce_sum(x, 1) / tf.where(x[:, 0] == 50.0, 0.0, 1.0)}

    scored = Scorer(save(picky, spec((None, None)))).score(
        rows_of({"x": [[1.0], [200.0], [2.0, 3.0], [4.0], [50.0, 1.0]]})
    )
    assert (got(scored), faults(scored)) == ({"y": [1.0, 5.0, 4.0]}, [(2, "model_failed"), (5, "not_finite")])


def test_an_output_of_bytes_is_bytes_whatever_is_in_it(save: Save, rows_of: RowsOf) -> None:
    import tensorflow as tf

    def raw(x: Any) -> Any:
        serialized = tf.map_fn(tf.io.serialize_tensor, x, fn_output_signature=tf.string)
        return {
            "raw": serialized,
            "pair": tf.stack([serialized] * 2, 1),
            "text": tf.strings.as_string(x),
            "t_bytes": tf.strings.as_string(x),
        }

    scorer = Scorer(save(raw, spec()))
    expected = [tf.io.serialize_tensor(np.float32(value)).numpy() for value in (0.0, 1.0)]
    scored = scorer.score(rows_of({"x": [0.0, 1.0]}))
    assert got(scored) == {
        "raw": expected,
        "pair": [[one, one] for one in expected],
        "text": ["0.000000", "1.000000"],
        "t_bytes": [b"0.000000", b"1.000000"],
    }
    # A batch whose bytes all happen to be text changes no type.
    assert scorer.score(rows_of({"x": [0.0]})).predictions.schema == scored.predictions.schema
    assert scorer.schema().field("raw").type == pa.binary()


def test_bytes_go_in_as_they_are(save: Save, rows_of: RowsOf) -> None:
    import tensorflow as tf

    scorer = Scorer(save(lambda x: {"n": tf.strings.length(x)}, spec(dtype="string")))
    images = [b"\x89PNG\r\n", b"\xff\xd8\xff", b"\0\0"]
    for column in (pa.array(images), pa.array(images, pa.large_binary()), pa.array(images).dictionary_encode()):
        assert got(scorer.score(rows_of({"x": column}))) == {"n": [6, 3, 2]}


def test_a_model_of_images_to_images_gives_bytes(save: Save, rows_of: RowsOf) -> None:
    import tensorflow as tf

    def flipped(x: Any) -> Any:
        def one(image: Any) -> Any:
            return tf.io.encode_png(tf.io.decode_png(image, 1)[:, ::-1])

        return {"image": tf.map_fn(one, x)}

    image, other = (tf.io.encode_png(np.array([[[1], [2]]], np.uint8)[:, ::step]).numpy() for step in (1, -1))
    scorer = Scorer(save(flipped, spec(dtype="string")))
    assert got(scorer.score(rows_of({"x": [image, b"no image", other]}))) == {"image": [other, image]}
