"""A copy of a Model that becomes slow for some rows: what a version that turns bad in production may look like."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

# Products of matrices of 512 rows, some 40 ms of work on one core.
_SIZE, _PRODUCTS = 512, 16


def slow_copy(model: Path, copy: Path, column: str, above: float) -> None:
    """Copies a Model under a version of its own; a call with a value of `column` above a bound takes longer.

    Args:
        model: the Model's folder.
        copy: the folder of the copy, which does not exist.
        column: a numeric input.
        above: the bound.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    shutil.copytree(model, copy, ignore=shutil.ignore_patterns("saved_model", "registered.json"))
    loaded = tf.saved_model.load(str(model / "saved_model"))
    signature = loaded.signatures["serving_default"]

    def work(values: Any) -> Any:
        matrix = tf.fill([_SIZE, _SIZE], tf.reduce_sum(values) * 1e-9 + 1e-3)
        return tf.reduce_sum(tf.while_loop(lambda i, _: i < _PRODUCTS, lambda i, m: (i + 1, m @ m), [0, matrix])[1])

    def serve(**inputs: Any) -> Any:
        outputs = signature(**inputs)
        slow = tf.reduce_any(inputs[column] >= above)
        extra = tf.cond(slow, lambda: work(inputs[column]), lambda: 0.0)
        # A use of the result that changes nothing, so that the work is done.
        prediction = tf.where(extra > 1e30, extra, outputs["prediction"])
        return {**outputs, "prediction": prediction}

    specs = signature.structured_input_signature[1]
    module = tf.Module()
    module.loaded = loaded
    signatures = {"serving_default": tf.function(serve).get_concrete_function(**specs)}
    tf.saved_model.save(module, str(copy / "saved_model"), signatures=signatures)
    training = json.loads((copy / "training.json").read_text())
    training["model_version"] = f"{training['model_version'][:12]}-slow"
    (copy / "training.json").write_text(json.dumps(training))
