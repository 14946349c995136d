"""Models whose rows are not independent are found out, and ordinary ones are not taken for such."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from headrace.core.errors import DataError
from headrace.core.scoring.scorer import Scorer
from headrace.core.sources.source import Rows

Save = Callable[..., str]
RowsOf = Callable[..., Rows]


def spec(shape: Any = (None,), dtype: str = "float32", name: str = "x") -> Any:
    import tensorflow as tf

    return tf.TensorSpec(shape, dtype, name)


def dependent() -> dict[str, Callable[[Any], Any]]:
    """Models of x [None] of which a row's answer is not its own."""
    import tensorflow as tf

    return {
        "sort": tf.sort,
        "share": lambda x: x / tf.reduce_sum(x),
        "rank": lambda x: tf.argsort(tf.argsort(x)),
        "softmax over rows": tf.nn.softmax,
        "batch statistics": lambda x: (x - tf.reduce_mean(x)) / (tf.math.reduce_std(x) + 1e-3),
        "a little of the mean": lambda x: x + 0.02 * tf.reduce_mean(x),
        "running total": tf.cumsum,
        "place": lambda x: x + tf.cast(tf.range(tf.size(x)), tf.float32),
        "number of rows": lambda x: x / tf.cast(tf.size(x), tf.float32),
        "the next row": lambda x: tf.roll(x, -1, 0),
        "among the first": lambda x: x >= tf.reduce_max(x),
        "class by rank": lambda x: tf.where(x > tf.reduce_mean(x), "high", "low"),
        "width of the batch": lambda x: tf.strings.unicode_decode(
            tf.strings.as_string(tf.cast(x * 9e5, tf.int32)), "UTF-8"
        ).to_tensor(),
    }


@pytest.mark.parametrize("name", list(dependent()))
def test_a_model_that_looks_at_the_batch_is_refused_when_it_is_loaded(save: Save, name: str) -> None:
    path = save(lambda x: {"y": dependent()[name](x)}, spec())
    with pytest.raises(DataError, match=r"rows are not independent.*output y for a row.*with --batch whole") as caught:
        Scorer(path)
    assert caught.value.exit_status == 2
    Scorer(path, whole=True)


def random() -> dict[str, Callable[[Any], Any]]:
    """Models that are another each time, or in another place."""
    import tensorflow as tf

    return {
        "dropout": lambda x: tf.nn.dropout(x, 0.5),
        "noise": lambda x: x + tf.random.normal(tf.shape(x), stddev=0.1),
        "sampling": lambda x: tf.random.categorical(tf.math.log(tf.stack([x, 1 - x], 1)), 3),
    }


@pytest.mark.parametrize("name", list(random()))
def test_a_random_model_is_refused_and_is_called_so(save: Save, name: str) -> None:
    path = save(lambda x: {"y": random()[name](x)}, spec())
    with pytest.raises(DataError, match=r"other answers to the same rows each time.*dropout.*with --batch whole"):
        Scorer(path)


def independent() -> dict[str, Callable[[Any], Any]]:
    """Ordinary models of x [None, 4]."""
    import tensorflow as tf

    chance = np.random.default_rng(5)
    wide, back = (tf.constant(chance.normal(size=size), tf.float32) for size in ((4, 257), (257, 3)))

    def deep(x: Any) -> Any:
        return tf.matmul(tf.nn.tanh(tf.matmul(x * 100, wide)), back)

    def cancelled(x: Any) -> Any:
        # A hundredth is left, with two digits less: where nothing is left, the answer is the rounding of one processor.
        big = tf.matmul(x, wide) * 1e4
        return tf.reduce_sum(big, 1) - 0.99 * tf.reduce_sum(big[:, ::-1], 1)

    def half(x: Any) -> Any:
        return tf.cast(tf.matmul(tf.cast(tf.matmul(x, wide), tf.bfloat16), tf.cast(back, tf.bfloat16)), tf.float32)

    return {
        "deep": deep,
        "cancelled": cancelled,
        "half": half,
        "class": lambda x: tf.argmax(deep(x), 1),
        "text": lambda x: tf.where(deep(x)[:, 0] > 0, "yes", "no"),
        "constant": lambda x: x * 0,
        "not finite": lambda x: tf.math.log(x - 0.5),
        "huge": lambda x: x * 1e35,
        "probabilities": lambda x: tf.nn.softmax(deep(x)),
        "seeded by the row": lambda x: tf.map_fn(
            lambda row: tf.random.stateless_normal([2], tf.cast(row[:2] * 1e6, tf.int32)), x
        ),
        "normalized layer": lambda x: tf.nn.moments(x, 1)[0],
        "rounded": lambda x: tf.round(deep(x) * 100) / 100,
    }


@pytest.mark.parametrize("name", list(independent()))
def test_an_ordinary_model_is_loaded_and_scored(save: Save, rows_of: RowsOf, name: str) -> None:
    scorer = Scorer(save(lambda x: {"y": independent()[name](x)}, spec((None, 4))))
    x = np.random.default_rng(1).normal(size=(40, 4))
    assert scorer.score(rows_of({"x": x.tolist()})).predictions.num_rows or name == "not finite"


def test_a_model_of_lists_that_lays_all_values_out_is_ordinary(save: Save, rows_of: RowsOf) -> None:
    import tensorflow as tf

    table = tf.constant(np.random.default_rng(3).normal(size=(10, 33)), tf.float32)

    def bags(tokens: Any) -> Any:
        ragged = tf.RaggedTensor.from_tensor(tokens, padding=0)
        return {"y": tf.matmul(tf.reduce_mean(tf.gather(table, ragged), 1), table, transpose_b=True)}

    scorer = Scorer(save(bags, spec((None, None), "int64", "tokens")))
    lists = [[1 + (row * 7 + at) % 9 for at in range(1 + row % 5)] for row in range(60)]
    assert scorer.score(rows_of({"tokens": lists})).predictions.num_rows == 60


def test_what_made_up_rows_do_not_show_the_first_rows_do(save: Save, rows_of: RowsOf) -> None:
    import tensorflow as tf

    def parsed(x: Any) -> Any:
        return {"y": tf.sort(tf.strings.to_number(tf.strings.substr(x, 1, 9)))}

    scorer = Scorer(save(parsed, spec(dtype="string")))
    with pytest.raises(DataError, match=r"rows are not independent"):
        scorer.score(rows_of({"x": ["n9", "n1", "n4", "n2", "n7"]}))


def test_a_fixed_number_of_rows_is_probed_with_as_many(save: Save, rows_of: RowsOf) -> None:
    import tensorflow as tf

    for batch in (2, 5, 32):
        with pytest.raises(DataError, match=r"rows are not independent"):
            Scorer(save(lambda x: {"y": tf.sort(x)}, spec((batch,))))
    one = Scorer(save(lambda x: {"y": tf.sort(x)}, spec((1,))))
    assert one.score(rows_of({"x": [3, 1, 2]})).predictions.column("y").to_pylist() == [3, 1, 2]
