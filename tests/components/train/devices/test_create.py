"""The same training on one device, on two, and in two processes: real ones, on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from headrace.components.train.devices import create
from headrace.components.train.devices.strategy import Strategy
from headrace.components.train.input import source as input_pipeline
from headrace.components.train.input.examples import open_examples
from headrace.components.train.model import build as models
from headrace.components.train.model.objective import objective_of
from headrace.core.errors import PlatformError
from headrace.core.problem.file import ProblemFile

# Eleven processes start TensorFlow, two at a time.
PLAIN = "one_device-plain-0"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights and measurements of each training."""
    folder = tmp_path_factory.mktemp("distributed")
    script = Path(__file__).with_name("distributed_program.py")
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said, errors = process.communicate()
    finally:
        # Where one process of a cluster fails, the others may wait for it.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, errors
    assert json.loads(said) == {"alone": 0, "workers": [0, 0]}, errors
    return folder


def weights(trained: Path, name: str) -> dict[str, Any]:
    with np.load(trained / f"{name}.npz") as file:
        return dict(file)


def told(trained: Path, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((trained / f"{name}.json").read_text())
    return loaded


def difference(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    assert ours.keys() == theirs.keys()
    return max(float(np.abs(ours[name] - theirs[name]).max()) for name in ours)


@pytest.mark.parametrize(
    ("name", "alone"),
    [
        ("mirrored-plain-0", PLAIN),
        ("mirrored-compiled-0", "one_device-compiled-0"),
        ("mirrored-plain-xla-0", PLAIN),
        ("one_device-plain-xla-0", PLAIN),
        ("multi_worker-plain-0", PLAIN),
        ("multi_worker-plain-1", PLAIN),
        ("multi_worker-compiled-0", "one_device-compiled-0"),
        ("multi_worker-compiled-1", "one_device-compiled-0"),
        ("mirrored-weighted-0", "one_device-weighted-0"),
        ("mirrored-weighted_compiled-0", "one_device-weighted_compiled-0"),
        ("multi_worker-weighted-1", "one_device-weighted-0"),
        ("multi_worker-weighted_compiled-0", "one_device-weighted_compiled-0"),
    ],
)
def test_sixty_steps_end_with_the_same_weights_everywhere(trained: Path, name: str, alone: str) -> None:
    assert difference(weights(trained, name), weights(trained, alone)) < 1e-6
    ours, theirs = told(trained, name), told(trained, alone)
    assert ours["steps"] == theirs["steps"] == 60
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-6)
    # The metrics of compile() too, on rows that no number of replicas divides.
    assert ours["measured"] == pytest.approx(theirs["measured"], rel=1e-5)
    assert ours["logs"] == pytest.approx(theirs["logs"], rel=1e-5)
    assert ours["rate"] == theirs["rate"]
    assert ours["names"] == theirs["names"]


def test_the_compiled_model_is_trained_with_what_it_was_compiled_with(trained: Path) -> None:
    compiled = told(trained, "one_device-compiled-0")
    assert compiled["rate"] == pytest.approx(0.01 * 0.9**6, rel=1e-6)
    assert set(compiled["logs"]) == {"mse"}
    # Its loss is the mean absolute error, and what keeps its weights small.
    assert 0.01 < compiled["measured"]["loss"] - compiled["measured"]["mean_absolute_error"] < 0.1


def test_weights_are_part_of_what_is_trained_and_measured(trained: Path) -> None:
    plain, weighted = (told(trained, f"one_device-{case}-0") for case in ("compiled", "weighted_compiled"))
    assert set(weighted["logs"]) == {"mse", "weighted_mse"}
    assert weighted["measured"]["mse"] != pytest.approx(weighted["measured"]["weighted_mse"], rel=0.01)
    assert difference(weights(trained, "one_device-weighted-0"), weights(trained, PLAIN)) > 1e-3
    # The mean absolute error of `metrics` is by weight; the loss is a sum by the number of rows.
    assert weighted["measured"]["loss"] > plain["measured"]["loss"]


def test_what_differs_on_replicas_is_the_same_on_all_of_them(trained: Path) -> None:
    """Batch normalization normalizes the rows of a replica, so its weights depend on how many there are."""
    mirrored = weights(trained, "mirrored-normalized-0")
    for worker in range(2):
        assert difference(weights(trained, f"multi_worker-normalized-{worker}"), mirrored) < 1e-6
    assert told(trained, "mirrored-normalized-0")["measured"]["r_squared"] > 0.9


def test_a_state_goes_on_as_it_did(trained: Path) -> None:
    names = [PLAIN, "mirrored-plain-0", "mirrored-dropout-0", "multi_worker-plain-0", "multi_worker-plain-1"]
    assert all(told(trained, name)["again"] for name in names)


@pytest.mark.parametrize("name", ["one_device-bfloat16-0", "one_device-float16-0", "mirrored-float16-0"])
def test_mixed_precision_learns_the_same_with_weights_of_32_bits(trained: Path, name: str) -> None:
    found = weights(trained, name)
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    measured = told(trained, name)["measured"]
    assert measured["r_squared"] == pytest.approx(told(trained, PLAIN)["measured"]["r_squared"], abs=0.001)
    assert difference(found, weights(trained, PLAIN)) > 1e-6


def test_workers_agree_and_the_first_is_the_chief(trained: Path) -> None:
    found = [told(trained, f"multi_worker-plain-{worker}") for worker in range(2)]
    assert [(one["agreed"], one["chief"]) for one in found] == [(1005.0, True), (1005.0, False)]


@pytest.mark.parametrize(
    ("devices", "what"), [(("accel*",), "this machine has no TPU"), (("null",), "the devices do not answer")]
)
def test_a_tpu_that_is_not_there_is_the_platforms_fault(
    devices: tuple[str, ...], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(create, "_TPU_DEVICES", devices)
    with pytest.raises(PlatformError) as caught:
        create.create(Strategy("TPU", "", "TPU:0", tpu="local"))
    assert caught.value.exit_status == 75
    assert (caught.value.what, caught.value.where) == (what, "TPU local")


@pytest.mark.parametrize("kind", ["linear", "deep", "wide_and_deep", "deep_and_cross"])
def test_what_a_tpu_gets_has_static_shapes_and_no_strings(
    kind: str, natality: ProblemFile, natality_examples: Path
) -> None:
    """The step compiles with XLA, as a TPU has it; strings are looked up before, and the exported model takes them."""
    import dataclasses

    import keras

    from headrace.components.train.loop.step_function import replica_step
    from headrace.components.train.model.loss import Criterion

    problem = natality.problem
    training = dataclasses.replace(problem.training, model=kind)
    examples = open_examples(str(natality_examples), problem)
    objective = objective_of(problem, examples.statistics)
    model = models.build(natality, examples.statistics, objective, training, {})
    source = input_pipeline.open_source(
        problem, examples, model.prepare, batch_size=64, seed=1, memory_bytes=1 << 30, order="blocks"
    )
    # As each replica of a worker gets them.
    batches = source.batches().rebatch(16, drop_remainder=True)
    for spec in tf.nest.flatten(batches.element_spec):
        assert spec.shape.is_fully_defined()
        assert spec.shape[0] == 16
        assert spec.dtype in (tf.float32, tf.int32)
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(model.core.trainable_variables)
    step = replica_step(model.core, Criterion(model.core, objective, 1), optimizer, xla=True)
    text = step.experimental_get_compiler_ir(*next(iter(batches)), None)(stage="hlo")
    assert "HloModule" in text
    assert {inputs.dtype for inputs in model.whole.inputs} == {"float32", "string"}
