from __future__ import annotations

import dataclasses
import json
import math
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from support.users_files import check_users_files_stay

from headrace.components.train.config import TrainConfig
from headrace.components.train.input.examples import open_examples
from headrace.components.train.input.records import numeric_names
from headrace.components.train.input.shard_stream import Shards
from headrace.components.train.model import export
from headrace.components.train.model.distinct_values import decoded
from headrace.components.train.options import Input, Options
from headrace.components.train.trainer import train
from headrace.core.artifacts.kinds import MODEL
from headrace.core.errors import DataError, PlatformError, ProblemError, UsageError
from headrace.core.problem import Categorical, Problem, Training
from headrace.core.problem.file import ProblemFile, load_problem

IDENTITY = "0123456789abcdef"
FILES = {
    "saved_model",
    "model.keras",
    "problem.py",
    "problem.json",
    "schema.json",
    "statistics.json",
    "golden.json",
    "training.json",
}


def signature(folder: Path) -> Any:
    loaded = tf.saved_model.load(str(folder / "saved_model"))
    # The function does not keep what it runs on alive.
    return loaded, loaded.signatures["serving_default"]


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def golden_inputs(trained: Any) -> dict[str, Any]:
    """The golden instances as the signature takes them."""
    instances = read(trained.folder / "golden.json")["instances"]
    inputs: dict[str, Any] = {"key": tf.constant([instance["key"] for instance in instances])}
    for column in trained.problem_file.problem.columns:
        values = [instance[column.name] for instance in instances]
        missing: Any = "" if isinstance(column, Categorical) else math.nan
        inputs[column.name] = tf.constant([missing if value is None else value for value in values])
    return inputs


def with_problem(file: ProblemFile, **changes: Any) -> ProblemFile:
    return dataclasses.replace(file, problem=dataclasses.replace(file.problem, **changes))


def weights_of(folder: Path) -> dict[str, Any]:
    reader = tf.train.load_checkpoint(str(folder / "saved_model" / "variables" / "variables"))
    names = [name for name in reader.get_variable_to_shape_map() if "OBJECT_GRAPH" not in name]
    return {name: reader.get_tensor(name) for name in names}


def test_it_learns_the_weight_of_babies(natality_model: Any) -> None:
    result, training = natality_model.result, natality_model.training
    # Predicting the mean is off by 1.4 pounds.
    assert math.sqrt(result.eval_loss) < 1.05
    assert training["baseline"]["metric"] == "root_mean_squared_error"
    assert 1.3 < training["baseline"]["value"] < 1.5
    assert result.eval_loss == min(training["history"]["eval_loss"])


def test_training_json_says_what_was_done(natality_model: Any, natality: ProblemFile) -> None:
    training, result = natality_model.training, natality_model.result
    assert training["format"] == 1
    assert training["model_version"] == result.model_version == IDENTITY
    assert training["examples_identity"] == "fedcba9876543210"
    assert (training["problem"], training["task"]) == ("natality", "regression")
    assert training["problem_digest"] == natality.digest
    assert len(training["history"]["loss"]) == training["epochs"] == result.epochs
    assert training["history"]["steps"][-1] == training["steps"] == result.steps
    assert training["best_epoch"] == result.best_epoch
    assert training["stopped"] == result.stopped
    assert training["hardware"]["device"] in {"CPU", "GPU"}
    assert training["strategy"]["name"] == "OneDevice"
    assert training["input"]["cached"] is True
    assert 0 <= training["input_share"] <= 1
    assert training["rows_per_second"] > 100
    assert (training["seed"], training["batch_size"], training["learning_rate"]) == (1, 32, 0.003)
    assert training["parameters"] == result.parameters


def test_the_artifact_is_complete(natality_model: Any, natality: ProblemFile, natality_examples: Path) -> None:
    folder = natality_model.folder
    assert {path.name for path in folder.iterdir()} == FILES
    assert (folder / "problem.py").read_text() == natality.source
    assert read(folder / "problem.json") == natality.problem.to_json()
    for name in ("schema.json", "statistics.json"):
        assert (folder / name).read_bytes() == (natality_examples / name).read_bytes()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_file_of_the_users_in_any_folder_of_a_model_keeps_it(natality_model: Any, tmp_path: Path) -> None:
    shutil.copytree(natality_model.folder, tmp_path / "model")
    check_users_files_stay(tmp_path / "model", MODEL, "saved_model", "saved_model/assets", "saved_model/variables")


def test_the_signature_takes_raw_features_by_name(natality_model: Any, natality: ProblemFile) -> None:
    _, serve = signature(natality_model.folder)
    _, inputs = serve.structured_input_signature
    columns = {c.name: tf.string if isinstance(c, Categorical) else tf.float32 for c in natality.problem.columns}
    assert {name: spec.dtype for name, spec in inputs.items()} == {**columns, "key": tf.string}
    assert all(spec.shape.as_list() == [None] for spec in inputs.values())
    assert {name: (spec.dtype, spec.shape.as_list()) for name, spec in serve.structured_outputs.items()} == {
        "key": (tf.string, [None]),
        "prediction": (tf.float32, [None]),
    }


def test_golden_answers_are_the_models_own(natality_model: Any, natality: ProblemFile) -> None:
    golden = read(natality_model.folder / "golden.json")
    assert golden["format"] == 1
    assert len(golden["instances"]) == len(golden["predictions"]) == 16
    columns = [column.name for column in natality.problem.columns]
    assert all(list(instance) == [*columns, "key"] for instance in golden["instances"])
    assert [i["key"] for i in golden["instances"]] == [p["key"] for p in golden["predictions"]]
    _, serve = signature(natality_model.folder)
    served = serve(**golden_inputs(natality_model))
    assert [p["prediction"] for p in golden["predictions"]] == served["prediction"].numpy().tolist()
    assert [p["key"].encode() for p in golden["predictions"]] == served["key"].numpy().tolist()


def test_missing_and_unknown_values_are_answered(natality_model: Any) -> None:
    _, serve = signature(natality_model.folder)
    inputs = golden_inputs(natality_model)
    usual = serve(**inputs)["prediction"].numpy()
    for name, column in inputs.items():
        for strange in ("", "never heard of") if column.dtype == tf.string else (math.nan,):
            served = serve(**{**inputs, name: tf.fill(column.shape, strange)})["prediction"].numpy()
            assert np.isfinite(served).all()
            # A missing plurality or sex costs pounds, not tens of them.
            assert np.abs(served - usual).max() < 5


def test_rows_are_answered_alike_alone_and_together(natality_model: Any) -> None:
    _, serve = signature(natality_model.folder)
    inputs = golden_inputs(natality_model)
    together = serve(**inputs)["prediction"].numpy()
    alone = [serve(**{n: c[i : i + 1] for n, c in inputs.items()})["prediction"].numpy()[0] for i in range(16)]
    np.testing.assert_allclose(alone, together, rtol=1e-5)


def test_serving_prepares_rows_as_training_did(natality_model: Any, natality: ProblemFile) -> None:
    """The eval loss that the loop saw, through the input pipeline, is the exported model's own on the raw rows."""
    examples = open_examples(str(natality_model.examples), natality.problem)
    _, serve = signature(natality_model.folder)
    features, labels = Shards.of(natality.problem, examples.eval, seed=1).in_order(0)
    served = serve(**decoded(features, numeric_names(natality.problem)), key=tf.fill(labels.shape, "k"))["prediction"]
    assert float(tf.reduce_mean((served - labels) ** 2)) == pytest.approx(natality_model.result.eval_loss, rel=1e-5)


def test_model_keras_loads_in_a_process_that_knows_nothing_of_us(natality_model: Any) -> None:
    inputs = golden_inputs(natality_model)
    rows = {n: c.numpy().astype(str).tolist() for n, c in inputs.items() if n != "key" and c.dtype == tf.string}
    rows |= {n: c.numpy().tolist() for n, c in inputs.items() if n != "key" and c.dtype != tf.string}
    program = """
import json, sys
import keras, tensorflow as tf
model = keras.saving.load_model(sys.argv[1])
rows = {name: tf.constant(values) for name, values in json.loads(sys.argv[2]).items()}
print(json.dumps(model(rows).numpy()[:, 0].tolist()))
print("headrace.components" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(natality_model.folder / "model.keras"), json.dumps(rows)],
        capture_output=True,
        text=True,
        check=True,
    )
    predictions, knows_us = done.stdout.strip().splitlines()
    golden = read(natality_model.folder / "golden.json")["predictions"]
    np.testing.assert_allclose(json.loads(predictions), [p["prediction"] for p in golden], rtol=1e-5)
    assert knows_us == "False"


def test_the_same_seed_gives_the_same_weights(
    natality: ProblemFile, natality_examples: Path, train_in: Callable[..., Any]
) -> None:
    training = dataclasses.replace(natality.problem.training, dropout=0.2)
    file = with_problem(natality, training=training)
    runs = [train_in(file, natality_examples, steps=60, seed=seed) for seed in (3, 3, 4)]
    first, again, other = (weights_of(run.folder) for run in runs)
    assert first.keys() == again.keys() == other.keys()
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert any(not np.array_equal(first[name], other[name]) for name in first)
    assert runs[0].training["history"] == runs[1].training["history"]
    assert runs[0].result.steps == 60


def test_overrides_and_small_splits(
    natality: ProblemFile, natality_examples: Path, train_in: Callable[..., Any]
) -> None:
    run = train_in(natality, natality_examples, batch_size=100_000, epochs=2, learning_rate=0.1, seed=9)
    rows = open_examples(str(natality_examples), natality.problem).train.rows
    training = run.training
    assert (training["batch_size"], training["learning_rate"], training["seed"]) == (rows, 0.1, 9)
    assert (run.result.epochs, run.result.steps) == (2, 2)
    assert run.result.stopped == "epochs: all 2 done"


def test_binary(natality: ProblemFile, make_examples: Callable[..., Path], train_in: Callable[..., Any]) -> None:
    label = Categorical("is_light", vocabulary=["no", "yes"])
    file = with_problem(natality, label=label, gate=None)
    run = train_in(file, make_examples(file.problem))
    training = run.training
    assert training["baseline"]["metric"] == "log_loss"
    assert run.result.eval_loss < 0.8 * training["baseline"]["value"]
    _, serve = signature(run.folder)
    served = serve(**golden_inputs(run))
    probability = served["probability"].numpy()
    assert served["prediction"].numpy().tolist() == [b"yes" if p >= 0.5 else b"no" for p in probability]
    golden = read(run.folder / "golden.json")["predictions"]
    assert [list(p) for p in golden] == [["key", "prediction", "probability"]] * 16
    assert [p["prediction"] for p in golden] == [value.decode() for value in served["prediction"].numpy()]
    assert [p["probability"] for p in golden] == probability.tolist()


def test_multiclass(natality: ProblemFile, make_examples: Callable[..., Path], train_in: Callable[..., Any]) -> None:
    features = [f for f in natality.problem.features if f.name not in ("mother_race", "mother_age_x_plurality")]
    classes = ["white", "black", "hispanic", "other"]
    label = Categorical("mother_race", vocabulary=classes)
    file = with_problem(natality, label=label, features=features, gate=None)
    run = train_in(file, make_examples(file.problem))
    assert run.result.eval_loss < run.training["baseline"]["value"]
    _, serve = signature(run.folder)
    served = serve(**golden_inputs(run))
    probabilities = served["probabilities"].numpy()
    assert probabilities.shape == (16, 4)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert [value.decode() for value in served["prediction"].numpy()] == [
        classes[i] for i in probabilities.argmax(axis=1)
    ]
    golden = read(run.folder / "golden.json")["predictions"]
    assert [p["probabilities"] for p in golden] == probabilities.tolist()


BUILD = """
def build_model(problem, statistics, hyperparameters):
    import keras

    weeks = keras.Input(shape=(), name="gestation_weeks")
    plurality = keras.Input(shape=(), name="plurality", dtype="string")
    measured = statistics["gestation_weeks"]
    scaled = (keras.ops.expand_dims(weeks, 1) - measured["mean"]) / measured["standard_deviation"]
    values = [value for value, _ in statistics["plurality"]["vocabulary"]]
    kind = keras.layers.StringLookup(vocabulary=values, output_mode="one_hot")(keras.ops.expand_dims(plurality, 1))
    mean = keras.initializers.Constant(statistics["weight_pounds"]["mean"])
    hidden = keras.layers.Dense(8, activation="relu")(keras.layers.Concatenate()([scaled, kind]))
    return keras.Model([weeks, plurality], keras.layers.Dense(1, bias_initializer=mean)(hidden))
"""


def test_a_users_model(
    natality: ProblemFile, natality_examples: Path, train_in: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "own.py"
    path.write_text(natality.source + BUILD)
    file = load_problem(str(path))
    runs = [train_in(file, natality_examples, epochs=10) for _ in range(2)]
    assert math.sqrt(runs[0].result.eval_loss) < 1.25
    assert runs[0].training["model"] == "build_model"
    # The unused features are arguments of the signature all the same, and the key passes through.
    _, serve = signature(runs[0].folder)
    served = serve(**golden_inputs(runs[0]))
    golden = read(runs[0].folder / "golden.json")["predictions"]
    assert [p["prediction"] for p in golden] == served["prediction"].numpy().tolist()
    first, again = (weights_of(run.folder) for run in runs)
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_a_users_model_that_is_wrong_leaves_nothing(
    natality: ProblemFile, natality_examples: Path, tmp_path: Path
) -> None:
    path = tmp_path / "own.py"
    path.write_text(natality.source + BUILD.replace("Dense(1,", "Dense(2,"))
    refused(load_problem(str(path)), natality_examples, tmp_path, ProblemError)


def refused(file: ProblemFile, examples: Path, tmp_path: Path, kind: type[Exception], **overrides: Any) -> str:
    """The paragraph with which training is refused; and nothing is left at or beside its output."""
    config = TrainConfig(str(examples), str(tmp_path / "out" / "model"), IDENTITY, **overrides)
    with pytest.raises(kind) as caught:
        train(file, config)
    assert list((tmp_path / "out").iterdir()) == []
    return str(caught.value)


def test_a_loss_that_bursts_is_refused(natality: ProblemFile, natality_examples: Path, tmp_path: Path) -> None:
    spoilt = Path(shutil.copytree(natality_examples, tmp_path / "spoilt"))
    statistics = read(spoilt / "statistics.json")
    # The square of a pound over such a deviation is beyond float32.
    statistics["columns"]["weight_pounds"]["standard_deviation"] = 1e-30
    (spoilt / "statistics.json").write_text(json.dumps(statistics))
    said = refused(natality, spoilt, tmp_path, ProblemError, learning_rate=0.5)
    assert "step 1: the loss is not finite" in said
    assert "at learning rate 0.5" in said


def test_a_failure_on_the_last_step_leaves_nothing(
    natality: ProblemFile, natality_examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise PlatformError("the path cannot be written", received="No space left on device")

    monkeypatch.setattr(export, "golden", full)
    assert "No space left" in refused(natality, natality_examples, tmp_path, PlatformError, steps=1)


def test_a_failure_keeps_the_model_that_was_there(
    natality: ProblemFile, natality_examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "model"
    old.mkdir()
    (old / "training.json").write_text(before := '{"kind": "Model", "version": "old"}')
    config = TrainConfig(str(natality_examples), str(old), IDENTITY, steps=1)

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(export, "compare", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(natality, config)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (old / "training.json").read_text() == before
    train(natality, config)
    assert read(old / "training.json")["model_version"] == IDENTITY


def test_killed_on_the_last_step_nothing_is_published(
    natality: ProblemFile, natality_examples: Path, tmp_path: Path
) -> None:
    program = """
import os, signal, sys
from headrace.core import storage
from headrace.core.problem.file import load_problem
from headrace.components.train.trainer import TrainConfig, train

write = storage.write_json
def killed(uri, value):
    if uri.endswith("training.json"):
        os.kill(os.getpid(), signal.SIGKILL)
    write(uri, value)
storage.write_json = killed
train(load_problem(sys.argv[1]), TrainConfig(sys.argv[2], sys.argv[3], "0" * 16, steps=1))
"""
    model = tmp_path / "out" / "model"
    done = subprocess.run(
        [sys.executable, "-c", program, natality.path, str(natality_examples), str(model)], check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert not model.exists()
    # What the killed one left is hidden, and holds no training.json for readers to look for.
    (left,) = model.parent.iterdir()
    assert left.name.startswith(".model.")
    assert {path.name for path in left.iterdir()} == FILES - {"training.json"}


def test_an_output_that_cannot_be_written_is_refused_before_any_work(
    natality: ProblemFile, natality_examples: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    told: list[str] = []
    config = TrainConfig(str(natality_examples), str(tmp_path / "file" / "model"), IDENTITY)
    with pytest.raises(UsageError, match="the path cannot be written"):
        train(natality, config, lambda message, **_: told.append(message))
    assert told == []


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (
            [1.0, 2.5],
            'output "prediction": the predictions of the exported model differ from those of the trained model',
        ),
        ([1.0, math.nan], 'output "prediction": the predictions of the exported model differ'),
    ],
)
def test_an_export_that_answers_otherwise_is_not_published(answers: list[float], said: str) -> None:
    expected = {"prediction": np.array([1.0, 2.0], np.float32)}
    export.compare(expected, {"prediction": np.array([1.0, 2.0 + 1e-6], np.float32)})
    with pytest.raises(PlatformError) as caught:
        export.compare(expected, {"prediction": np.array(answers, np.float32)})
    assert said in caught.value.paragraph


def test_rows_that_do_not_fit_train_the_same_way(
    natality: ProblemFile, natality_examples: Path, train_in: Callable[..., Any]
) -> None:
    run = train_in(natality, natality_examples, options=Options(input=Input(cache="none")))
    assert run.training["input"]["cached"] is False
    assert math.sqrt(run.result.eval_loss) < 1.05
    assert run.training["baseline"]["value"] > 1.3


def test_a_problem_of_one_category_and_no_hidden_layer(
    make_examples: Callable[..., Path], natality: ProblemFile, train_in: Callable[..., Any]
) -> None:
    problem = Problem(
        name="smallest",
        key="record_id",
        label=natality.problem.label,
        features=[Categorical("plurality")],
        training=Training(hidden_units=[], epochs=20, learning_rate=0.05),
    )
    run = train_in(dataclasses.replace(natality, problem=problem), make_examples(problem))
    assert run.result.eval_loss < run.training["baseline"]["value"] ** 2


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_a_damaged_shard_is_named(cache: str, natality_model: Any, natality: ProblemFile, tmp_path: Path) -> None:
    copied = tmp_path / "examples"
    shutil.copytree(natality_model.examples, copied)
    shard = min((copied / "train").iterdir())
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 8
    shard.write_bytes(content)
    config = TrainConfig(
        str(copied),
        str(tmp_path / "model"),
        "0" * 16,
        options=Options(input=Input(cache=cache)),  # type: ignore[arg-type]
    )
    with pytest.raises(DataError, match="a corrupted record") as caught:
        train(natality, config)
    assert str(caught.value.where).startswith(f"{shard}, byte ")
    assert not (tmp_path / "model").exists()
