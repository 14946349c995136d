"""Signatures cut in two: the same answers as the whole one's, and a whole one where cutting would change them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from headrace.core.scoring.distinct_texts import hoisted as lifting
from headrace.core.scoring.distinct_texts.hoisted import Lifted

ROWS = 96
WORDS = ["", "a", "b", "c", "d"]
Inputs = dict[str, Any]


class Model(tf.Module):  # type: ignore[misc]
    """Texts `x` and `y`, a number `n`; what is made of them is told by a function."""

    def __init__(self, answer: Callable[[Model, Inputs], Any]) -> None:
        super().__init__()
        keys, values = tf.constant(["a", "b", "c"]), tf.constant([1, 2, 3], tf.int64)
        self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), 0)
        self.rows = tf.Variable(np.random.default_rng(1).normal(size=[40, 5]).astype(np.float32))
        self.count = tf.Variable(0)
        self.answer = answer

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[
            tf.TensorSpec([None], tf.string, "x"),
            tf.TensorSpec([None], tf.string, "y"),
            tf.TensorSpec([None], tf.float32, "n"),
        ]
    )
    def serve(self, x: Any, y: Any, n: Any) -> dict[str, Any]:
        return {"out": self.answer(self, {"x": x, "y": y, "n": n})}


def looked_up(model: Model, inputs: Inputs) -> Any:
    """A row of a table by one text, and a number."""
    return tf.reduce_sum(tf.gather(model.rows, model.table.lookup(inputs["x"])), axis=1) + inputs["n"]


def crossed(model: Model, inputs: Inputs) -> Any:
    """As our models do: texts, a bucket of a number and a cross, each a row of one table, added up."""
    bucket = tf.raw_ops.Bucketize(input=inputs["n"], boundaries=[-1.0, 0.0, 1.0])
    columns = [tf.expand_dims(inputs[name], 1) for name in ("x", "y")]
    cross = tf.squeeze(tf.sparse.to_dense(tf.sparse.cross_hashed(columns, 8)), -1)
    places = [bucket, *(tf.cast(model.table.lookup(inputs[name]), tf.int32) + 4 for name in ("x", "y"))]
    places.append(tf.cast(cross, tf.int32) + 8)
    return tf.reduce_sum(tf.gather(model.rows, tf.stack(places, axis=1)), axis=1) * inputs["n"][:, None]


def upside_down(model: Model, inputs: Inputs) -> Any:
    """A row's answer is made of another's text."""
    return tf.cast(tf.reverse(model.table.lookup(inputs["x"]), [0]), tf.float32) + inputs["n"]


def whole_batch(model: Model, inputs: Inputs) -> Any:
    """A row's answer is made of all texts."""
    found = model.table.lookup(inputs["x"])
    return tf.cast(found - tf.reduce_max(found), tf.float32) + inputs["n"]


def spread(model: Model, inputs: Inputs) -> Any:
    """A constant, [1, 1], makes rows of columns."""
    found = tf.cast(model.table.lookup(inputs["x"]), tf.float32) + tf.ones([1, 1])
    return tf.transpose(found)[:, 0] + inputs["n"]


def counting(model: Model, inputs: Inputs) -> Any:
    """Keeps state."""
    with tf.control_dependencies([model.count.assign_add(1)]):
        return looked_up(model, inputs)


def asserting(model: Model, inputs: Inputs) -> Any:
    """Refuses."""
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(inputs["n"] < 9), [inputs["n"]])]):
        return looked_up(model, inputs)


def branching(model: Model, inputs: Inputs) -> Any:
    """Goes one of two ways."""
    return tf.cond(
        tf.reduce_any(inputs["n"] > 9), lambda: inputs["n"], lambda: looked_up(model, inputs), name="branching"
    )


def only_numbers(_: Model, inputs: Inputs) -> Any:
    """Has texts that no answer depends on."""
    return inputs["n"] * 2


Cut = Callable[[Callable[[Model, Inputs], Any]], tuple[Any, Lifted | None]]


@pytest.fixture(name="cut")
def cut_fixture(tmp_path: Path) -> Cut:
    """`cut(answer)`: a model's signature, saved and loaded, and the same in two."""

    def cut(answer: Callable[[Model, Inputs], Any]) -> tuple[Any, Lifted | None]:
        model = Model(answer)
        tf.saved_model.save(model, str(tmp_path), signatures=model.serve)
        loaded = tf.saved_model.load(str(tmp_path))
        signature = loaded.signatures["serving_default"]
        signature.loaded = loaded
        return signature, Lifted.of(signature, ["out"])

    return cut


def batch(seed: int = 0, rows: int = ROWS, words: list[str] = WORDS) -> dict[str, Any]:
    chance = np.random.default_rng(seed)
    return {
        **{name: [words[at] for at in chance.integers(len(words), size=rows)] for name in ("x", "y")},
        "n": chance.normal(size=rows).astype(np.float32),
    }


def answers(model: Any, made: Lifted, inputs: dict[str, Any]) -> tuple[Any, Any]:
    """Those of the whole model, and those of the one that is cut."""
    texts = {name: pa.array(inputs[name]) for name in made.texts}
    others = {name: tf.constant(inputs[name]) for name in made.others}
    given = {name: tf.constant(values) for name, values in inputs.items()}
    return model(**given)["out"].numpy(), made(texts, others, len(inputs["n"]))["out"].numpy()


@pytest.mark.parametrize(("answer", "texts"), [(looked_up, ("x",)), (crossed, ("x", "y"))])
def test_the_answers_are_those_of_the_whole(
    cut: Cut, answer: Callable[[Model, Inputs], Any], texts: tuple[str, ...]
) -> None:
    model, made = cut(answer)
    assert made is not None
    assert (made.texts, made.others) == (texts, ("n",))
    for inputs in (batch(1, words=WORDS[:2]), batch(2), batch(3, 1), batch(4, words=[f"{n}" for n in range(300)])):
        expected, received = answers(model, made, inputs)
        np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize("answer", [upside_down, whole_batch, spread])
def test_what_works_on_rows_together_is_not_run_apart(cut: Cut, answer: Callable[[Model, Inputs], Any]) -> None:
    model, made = cut(answer)
    assert made is not None
    expected, received = answers(model, made, batch())
    np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize("answer", [counting, asserting, branching, only_numbers])
def test_what_does_more_than_compute_stays_whole(cut: Cut, answer: Callable[[Model, Inputs], Any]) -> None:
    assert cut(answer)[1] is None


def test_combinations_that_would_be_too_many_are_those_of_the_rows(cut: Cut, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifting, "_MOST_EVERY", 3)
    model, made = cut(crossed)
    assert made is not None
    for seed in (1, 2):
        expected, received = answers(model, made, batch(seed))
        np.testing.assert_array_equal(received, expected)


def test_a_text_on_which_the_model_fails_is_forgotten(cut: Cut) -> None:
    def answer(model: Model, inputs: Inputs) -> Any:
        found = model.table.lookup(inputs["x"])
        return tf.gather(model.rows[:3, 0], found) + inputs["n"]

    model, made = cut(answer)
    assert made is not None
    with pytest.raises(tf.errors.InvalidArgumentError):
        answers(model, made, batch(words=["a", "b", "c"]))
    expected, received = answers(model, made, batch(words=["a", "b"]))
    np.testing.assert_array_equal(received, expected)
