"""The scoring core by itself: numpy in, numpy and faults by row out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from headrace.core.errors import PlatformError
from headrace.core.saved_model.loaded import SavedModel
from headrace.core.scoring.predictor import BLOCK_ROWS, PredictionFault, Predictor, Texts, filled_rows

Made = Callable[..., Predictor]


@pytest.fixture
def predictor(tmp_path: Path) -> Made:
    """`predictor(function, *specs, outputs=...)`: of a SavedModel that is the function."""

    def make(function: Any, *specs: Any, outputs: list[str] | None = None) -> Predictor:
        module = tf.Module()
        module.serve = tf.function(function, input_signature=specs)
        tf.saved_model.save(module, str(tmp_path / "model"), signatures={"serving_default": module.serve})
        return Predictor(SavedModel(str(tmp_path / "model")), "v1", outputs)

    return make


NUMBER = tf.TensorSpec([None], tf.float32, "x")
TEXT = tf.TensorSpec([None], tf.string, "text")


def test_numbers_and_texts_go_in_and_numpy_comes_out(predictor: Made) -> None:
    made = predictor(
        lambda x, text: {
            "twice": 2 * x,
            "pair": tf.stack([x, -x], axis=1),
            "long": tf.strings.join([text, text]),
            "half": tf.cast(x, tf.bfloat16),
        },
        NUMBER,
        TEXT,
    )
    found = made.predict({"x": np.arange(3, dtype=np.float32), "text": Texts(np.array([1, 0, 1]), [b"a", b"b"])})
    assert found.model_version == "v1"
    assert found.faults == {}
    assert found.at.tolist() == [0, 1, 2]
    assert found.outputs["twice"].tolist() == [0, 2, 4]
    assert found.outputs["pair"].tolist() == [[0, 0], [1, -1], [2, -2]]
    assert found.outputs["long"].tolist() == [b"bb", b"aa", b"bb"]
    assert found.outputs["half"].dtype == np.float32
    # Texts as they are, too.
    plain = made.predict({"x": np.arange(3, dtype=np.float32), "text": np.array([b"b", b"a", b"b"], object)})
    assert plain.outputs["long"].tolist() == found.outputs["long"].tolist()


def test_every_row_is_answered_or_has_a_fault(predictor: Made) -> None:
    def answer(x: Any) -> Any:
        tf.debugging.assert_none_equal(x, 7.0, message="seven")
        return {"y": 1 / (x - 9), "z": x, "unasked": x / 0}

    rows = np.arange(100, dtype=np.float32)
    found = predictor(answer, NUMBER, outputs=["y", "z"]).predict({"x": rows})
    assert sorted(found.outputs) == ["y", "z"]
    assert found.at.tolist() == [row for row in range(100) if row != 7]
    assert found.outputs["z"].tolist() == found.at.tolist()
    assert list(found.faults) == [7, 9]
    assert found.faults[7].reason == "model_failed"
    assert "seven" in found.faults[7].message
    assert found.faults[9] == PredictionFault("not_finite", "the model's output y is not a finite number", "inf")


def test_calls_are_of_whole_blocks_and_so_a_row_does_not_depend_on_those_beside_it(predictor: Made) -> None:
    weights = tf.constant(np.random.default_rng(1).normal(size=(16, 8)), tf.float32)

    def answer(x: Any) -> Any:
        rows = tf.shape(x)[0]
        return {"y": tf.reduce_sum(tf.nn.relu(tf.matmul(x, weights)), axis=1), "rows": tf.fill([rows], rows)}

    made = predictor(answer, tf.TensorSpec([None, 16], tf.float32, "x"))
    assert [filled_rows(rows) for rows in (1, BLOCK_ROWS, BLOCK_ROWS + 1)] == [BLOCK_ROWS, BLOCK_ROWS, 2 * BLOCK_ROWS]
    rows = np.random.default_rng(2).normal(size=(100, 16)).astype(np.float32)
    whole = made.predict({"x": rows}).outputs
    assert set(whole["rows"].tolist()) == {144}
    alone = [made.predict({"x": rows[row : row + 1]}).outputs["y"][0] for row in range(100)]
    assert whole["y"].tolist() == alone


def test_no_rows_are_no_call(predictor: Made) -> None:
    found = predictor(lambda x: {"y": x}, NUMBER).predict({"x": np.zeros(0, np.float32)})
    assert (found.at.tolist(), found.faults, len(found.outputs["y"])) == ([], {}, 0)


def test_a_model_that_fails_for_want_of_a_device_is_no_fault_of_a_row(predictor: Made) -> None:
    made = predictor(lambda x: {"y": x}, NUMBER)

    def run(filled: int) -> Any:
        raise tf.errors.UnavailableError(None, None, "gone")

    with pytest.raises(PlatformError, match="the model failed"):
        made.call(run, 3)


def test_several_threads_may_predict_at_once(predictor: Made) -> None:
    made = predictor(lambda x: {"y": x + 1}, NUMBER)
    batches = [np.arange(first, first + 500, dtype=np.float32) for first in range(0, 4000, 500)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: made.predict({"x": batch}), batches))
    assert [one.outputs["y"].tolist() for one in found] == [(batch + 1).tolist() for batch in batches]


def test_what_the_trainer_image_lacks_is_not_imported() -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from headrace.components.evaluate import evaluator, predict\n"
        "from headrace.core.saved_model import loaded\n"
        "from headrace.core.scoring import predictor\n"
        "from headrace.components.train import trainer\n"
        "from headrace.components.train.input import records, shard_stream\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
