"""What TFX's Transform and Trainer load for the flights problem: problems/flights.py said in TFX's own words.

After TFX's Chicago taxi example (taxi_utils.py), with a model of the size and the features of ours: the default wide
and deep model. MirroredStrategy and the TensorBoard callback of the example are left out: they only cost time here.
It runs in the peer's environment, with Keras 2 (tf_keras), which is what TFX 1.16 is built on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
import tf_keras
from tfx_bsl.public import tfxio

LABEL = "air_time"
NUMERIC = ("distance", "hour", "day")
HOUR_BOUNDARIES = (8.0, 12.0, 16.0, 20.0)
CATEGORICAL = ("origin", "carrier", "month", "dest")
EMBEDDED = {"dest": 8}
HIDDEN_UNITS = (64, 32)
BATCH_SIZE = 40
# Ours is Keras 3's Adam with the same default.
LEARNING_RATE = 0.001


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """tf.Transform: numbers and the label to z-scores, categories to row numbers, the hour to its bucket too."""
    outputs = {}
    for name in (*NUMERIC, LABEL):
        outputs[f"{name}_xf"] = tft.scale_to_z_score(tf.cast(inputs[name], tf.float32))
    outputs["hour_bucket_xf"] = tft.apply_buckets(
        tf.cast(inputs["hour"], tf.float32), tf.constant([list(HOUR_BOUNDARIES)])
    )
    for name in CATEGORICAL:
        outputs[f"{name}_xf"] = tft.compute_and_apply_vocabulary(inputs[name], num_oov_buckets=1, vocab_filename=name)
    return outputs


def run_fn(fn_args: Any) -> None:
    """Trainer: trains the model, and exports it behind a signature that takes raw tf.train.Examples."""
    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    train = _dataset(fn_args, fn_args.train_files, transform)
    evaluation = _dataset(fn_args, fn_args.eval_files, transform)
    model = _build_model(transform)
    model.compile(optimizer=tf_keras.optimizers.Adam(LEARNING_RATE), loss="mean_squared_error")
    if fn_args.custom_config["tuned"]:
        # AutoGraph of TensorFlow 2.16 exempts Keras 3 by its name, and converts all of Keras 2: some 15 CPU seconds.
        model.train_step = tf.autograph.experimental.do_not_convert(model.train_step)
        model.test_step = tf.autograph.experimental.do_not_convert(model.test_step)
    model.fit(
        train,
        steps_per_epoch=fn_args.train_steps,
        validation_data=evaluation,
        validation_steps=fn_args.eval_steps,
        verbose=2,
    )
    layer = transform.transform_features_layer()
    # The model keeps what it serves with, so that it is saved.
    model.transform_layer = layer
    mean, deviation = _label_moments(layer)
    spec = {name: feature for name, feature in transform.raw_feature_spec().items() if name in (*NUMERIC, *CATEGORICAL)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])  # type: ignore[untyped-decorator]
    def serve(examples: Any) -> dict[str, Any]:
        features = layer(tf.io.parse_example(examples, spec))
        return {"outputs": model(features) * deviation + mean}

    tf.saved_model.save(model, fn_args.serving_model_dir, signatures={"serving_default": serve})
    size = {"parameters": model.count_params()}
    Path(fn_args.model_run_dir).mkdir(parents=True, exist_ok=True)
    Path(fn_args.model_run_dir, "size.json").write_text(json.dumps(size))


def _dataset(fn_args: Any, files: Any, transform: Any) -> Any:
    """Shuffled batches without end, as the taxi example reads them."""
    options = tfxio.TensorFlowDatasetOptions(batch_size=BATCH_SIZE, label_key=f"{LABEL}_xf")
    return fn_args.data_accessor.tf_dataset_factory(files, options, transform.transformed_metadata.schema).repeat()


def _label_moments(layer: Any) -> tuple[float, float]:
    """The label's mean and deviation, which only Transform's graph knows: from the z-scores of two labels."""
    labels = tf.constant([[0], [1000]], tf.int64)
    low, high = layer({LABEL: labels})[f"{LABEL}_xf"].numpy().ravel()
    deviation = 1000.0 / (high - low)
    return -low * deviation, deviation


def _build_model(transform: Any) -> Any:
    """Wide: numbers and one-hot categories. Deep: the same, but a learned vector for the embedded ones."""
    layers = tf_keras.layers
    inputs = {f"{name}_xf": layers.Input(shape=(1,), name=f"{name}_xf", dtype="float32") for name in NUMERIC}
    sizes = {"hour_bucket_xf": len(HOUR_BOUNDARIES) + 1}
    # One row for what the vocabulary lacks, and one for missing values, as in our tables.
    sizes |= {f"{name}_xf": transform.vocabulary_size_by_name(name) + 2 for name in CATEGORICAL}
    inputs |= {name: layers.Input(shape=(1,), name=name, dtype="int64") for name in sizes}
    numbers = [inputs[f"{name}_xf"] for name in NUMERIC]
    one_hot = {name: layers.CategoryEncoding(num_tokens=size)(inputs[name]) for name, size in sizes.items()}
    embedded = {
        f"{name}_xf": layers.Flatten()(layers.Embedding(sizes[f"{name}_xf"], length)(inputs[f"{name}_xf"]))
        for name, length in EMBEDDED.items()
    }
    hidden = layers.concatenate(
        [*numbers, *embedded.values(), *(encoded for name, encoded in one_hot.items() if name not in embedded)]
    )
    for units in HIDDEN_UNITS:
        hidden = layers.Dense(units, activation="relu")(hidden)
    wide = layers.Dense(1, use_bias=False, kernel_initializer="zeros")(
        layers.concatenate([*numbers, *one_hot.values()])
    )
    return tf_keras.Model(inputs, layers.add([layers.Dense(1)(hidden), wide]))
