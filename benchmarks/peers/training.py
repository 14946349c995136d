"""Trains the model of a Problem in one of several ways, and prints what its steps took as JSON.

Usage: training.py WAY EXAMPLES PROBLEM.py [options]

- cached: our loop on our input, its rows in memory.
- by_turns: the same, and the limit: our loop on batches that were made before.
- first_epoch: our loop on our input from the opening of the files to the end of the first epoch; before and after, the
  limit.
- single: our loop on records that are shuffled, parsed and prepared one by one, as TensorFlow's guides have it.
- fit: Keras' `fit` on our input, its rows in memory.
- checkpoint: our loop, with checkpoints that are written meanwhile.
- devices: trains nothing, and says what there is.

All but single and first_epoch take the same batches in the same order.
"""

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

# Batches may have been made ahead while another trained: so many steps use them up.
UNCOUNTED = 64


def by_turns(prepared, arguments):
    """The same model twice, a call on batches made before and one on our input: a neighbour slows both."""
    steps = (UNCOUNTED + arguments.steps) * (arguments.calls + 1)
    ours, limit = prepared.trainee, Limit(prepared_for(arguments), steps)
    ours.feed()
    return against_limit(limit.trainee.run, ours.run, prepared, arguments)


def against_limit(limit, ours, prepared, arguments):
    """Calls of both by turns; the first turn is not counted."""
    calls = {"limit": [], "ours": []}
    for _ in range(arguments.calls + 1):
        for name, run in (("limit", limit), ("ours", ours)):
            run(UNCOUNTED)
            calls[name].append(call(run, arguments.steps))
    said = {name: summary(found[1:], prepared) for name, found in calls.items()}
    shares = [theirs.seconds / mine.seconds for theirs, mine in zip(*calls.values(), strict=True)]
    return {**said["ours"], "limit": said["limit"], "of_limit": statistics.median(shares[1:])}


class Limit:
    """Our loop on batches that were made before, each a piece of one tensor in memory.

    Args:
        prepared: its first batches are taken.
        steps: how many; then they come again.
    """

    def __init__(self, prepared, steps):
        import tensorflow as tf

        batches = list(prepared.source.batches(0).take(steps))
        stacked = tf.nest.map_structure(lambda *columns: tf.stack(columns), *batches)
        del batches
        ready = tf.data.Dataset.from_tensor_slices(stacked).repeat().prefetch(2)
        self.trainee = trainee_of(prepared, lambda *_: ready)
        self.trainee.feed()


def cached(prepared, arguments):
    prepared.trainee.feed()
    return in_calls(prepared.trainee.run, prepared, arguments)


def first_epoch(prepared, arguments):
    from headrace.components.train.input import source as input_pipeline
    from headrace.components.train.input.examples import Split, open_examples
    from headrace.components.train.options import Input

    limit = Limit(prepared, 640).trainee.run
    streams = {"batches": prepared.source.batches}
    trainee = trainee_of(prepared, lambda *place: streams["batches"](*place))
    # Tracing is the price of a run, not of its first epoch; another source has read nothing for this one.
    trainee.feed()
    trainee.run(arguments.steps)
    limit(arguments.steps)
    many = arguments.steps * arguments.calls
    before = call(limit, many)
    problem = problem_of(arguments).problem
    examples = open_examples(arguments.examples, problem)
    # The limit evaluates nothing: of the eval split one shard is read here, not all.
    rows, file = examples.eval.shard_rows[0], examples.eval.files[0]
    some = Split(rows, (file,), pathlib.Path(file).stat().st_size, (rows,))
    examples = dataclasses.replace(examples, eval=some)
    begin, cpu = time.perf_counter(), time.process_time()
    source = input_pipeline.open_source(
        problem,
        examples,
        prepared.model.prepare,
        batch_size=prepared.batch.rows,
        seed=1,
        memory_bytes=prepared.machine.memory_bytes,
        wanted=Input(cache=arguments.cache),
        order=arguments.order or None,
    )
    streams["batches"] = source.batches
    trainee.feed()
    taken = trainee.run(examples.train.rows // prepared.batch.rows)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    rows = taken.steps * prepared.batch.rows
    # What a neighbour on the machine does for a while changes both.
    limits = summary([before, call(limit, many)], prepared)
    return {
        "rows_per_second": rows / seconds,
        "limit": limits,
        "of_limit": rows / seconds / limits["rows_per_second"],
        "seconds": seconds,
        "cpu": cpu,
        "rows": rows,
        "input_share": taken.waited_seconds / seconds,
        "loss": taken.loss_sum / taken.steps,
        "order": source.order,
        "cache": source.place.cache,
        "later": against_limit(limit, trainee.run, prepared, arguments) if arguments.later else None,
    }


def single(prepared, arguments):
    import tensorflow as tf

    from headrace.components.train.input.examples import open_examples
    from headrace.components.train.input.records import numeric_names
    from headrace.components.train.input.shard_stream import Shards
    from headrace.components.train.model.distinct_values import decoded
    from headrace.core.problem import Numeric

    problem = problem_of(arguments).problem
    files = list(open_examples(arguments.examples, problem).train.files)
    rows = prepared.batch.rows
    specification = {
        column.name: tf.io.FixedLenFeature([], tf.float32, float("nan"))
        if isinstance(column, Numeric)
        else tf.io.FixedLenFeature([], tf.string, "")
        for column in (*problem.columns, problem.label)
    }

    def parse(record):
        parsed = tf.io.parse_single_example(record, specification)
        return parsed, parsed.pop(problem.label.name)

    one_by_one = tf.data.TFRecordDataset(files).map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    features, labels = next(iter(Shards.of(problem, open_examples(arguments.examples, problem).train, 1).in_order()))
    expected = decoded(features, numeric_names(problem)), labels
    found = next(iter(one_by_one.batch(len(expected[1]))))
    for ours, theirs in zip(tf.nest.flatten(expected), tf.nest.flatten(found), strict=True):
        tf.debugging.assert_equal(ours, theirs)
    shuffled = tf.data.TFRecordDataset(files).repeat().shuffle(10_000, seed=1)
    batches = (
        shuffled.map(parse, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(rows, drop_remainder=True)
        .map(lambda features, label: (prepared.model.prepare(features), label), num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )
    trainee = trainee_of(prepared, lambda *_: batches)
    trainee.feed()
    return in_calls(trainee.run, prepared, arguments)


def fit(prepared, arguments):
    """`fit` with Adam and the same loss; an epoch of Keras is a call of ours."""
    import keras
    import tensorflow as tf

    core, deviation = prepared.model.core, prepared.objective.deviation

    def loss(labels, outputs):
        return tf.square((tf.reshape(outputs, [-1]) - tf.reshape(labels, [-1])) / deviation)

    class Clock(keras.callbacks.Callback):
        """Seconds and losses by epoch."""

        seconds, cpu, losses = [], [], []

        def on_epoch_begin(self, epoch, logs=None):
            self.begin = time.perf_counter(), time.process_time()

        def on_epoch_end(self, epoch, logs=None):
            self.seconds.append(time.perf_counter() - self.begin[0])
            self.cpu.append(time.process_time() - self.begin[1])
            self.losses.append(logs["loss"])

    clock = Clock()
    with prepared.trainee.strategy.scope():
        core.compile(
            optimizer=keras.optimizers.Adam(prepared.batch.learning_rate),
            loss=loss,
            steps_per_execution=arguments.steps_per_execution,
        )
    core.fit(
        prepared.source.batches(0),
        epochs=arguments.calls + 1,
        steps_per_epoch=arguments.steps,
        verbose=0,
        callbacks=[clock],
    )
    rows = arguments.steps * prepared.batch.rows
    return {
        "rows_per_second": rows / statistics.median(clock.seconds[1:]),
        "seconds": sum(clock.seconds[1:]),
        "cpu": sum(clock.cpu[1:]),
        "rows": rows * arguments.calls,
        "loss": clock.losses[-1] * prepared.objective.loss_scale,
    }


def checkpoint(prepared, arguments):
    """Calls with and without a checkpoint that is written meanwhile, by turns."""
    from headrace.components.train.loop.checkpoints import Checkpoints
    from headrace.components.train.options import Checkpointing

    trainee = prepared.trainee
    trainee.feed()
    trainee.run(arguments.steps)
    plain, writing, held = [], [], []
    with tempfile.TemporaryDirectory(dir=arguments.folder or None) as folder:
        options = Checkpointing(folder)
        checkpoints = Checkpoints(options, "0" * 16, tell=sys.exit)
        checkpoints.open()
        for number in range(1, arguments.calls + 1):
            begin = time.perf_counter()
            trainee.run(arguments.steps)
            plain.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            arrays = trainee.state()
            checkpoints.save(number, {}, arrays)
            held.append(time.perf_counter() - begin)
            trainee.run(arguments.steps)
            checkpoints.wait(strict=True)
            writing.append(time.perf_counter() - begin)
        found = checkpoints.newest()
        same = found is not None and all((found.arrays[name] == array).all() for name, array in arrays.items())
    return {
        "held": statistics.median(held),
        "extra": statistics.median(writing) - statistics.median(plain),
        "call": statistics.median(plain),
        "bytes": sum(array.nbytes for array in arrays.values()),
        "interval": options.minutes * 60,
        "same": same,
    }


def in_calls(run, prepared, arguments):
    """Steps in calls; the first is not counted. The rate is that of the call of median time."""
    run(arguments.steps)
    return summary([call(run, arguments.steps) for _ in range(arguments.calls)], prepared)


Call = collections.namedtuple("Call", "seconds cpu taken")


def call(run, steps):
    """So many steps, and what they took."""
    begin, cpu = time.perf_counter(), time.process_time()
    taken = run(steps)
    return Call(time.perf_counter() - begin, time.process_time() - cpu, taken)


def summary(calls, prepared):
    seconds = [each.seconds for each in calls]
    rows = [each.taken.steps * prepared.batch.rows for each in calls]
    last = calls[-1].taken
    return {
        "rows_per_second": rows[0] / statistics.median(seconds),
        "seconds": sum(seconds),
        "cpu": sum(each.cpu for each in calls),
        "rows": sum(rows),
        "input_share": sum(each.taken.waited_seconds for each in calls) / sum(seconds),
        "loss": last.loss_sum / last.steps,
    }


def trainee_of(prepared, batches):
    """The same model and optimizer on other batches."""
    from headrace.components.train.loop.session import TrainSession

    own = prepared.trainee
    return TrainSession(
        own.core, own.objective, own.optimizer, own.strategy, batches, prepared.source.eval_blocks, chosen=own.chosen
    )


def problem_of(arguments):
    from headrace.core.problem.file import load_problem

    return load_problem(arguments.problem)


def prepared_for(arguments):
    from headrace.components.train.config import TrainConfig
    from headrace.components.train.input.examples import open_examples
    from headrace.components.train.options import Distribution, Input, Options
    from headrace.components.train.preparation import prepare

    file = problem_of(arguments)
    wanted = Input(cache="none" if arguments.way in ("first_epoch", "single") else "memory")
    distribution = Distribution("mirrored" if arguments.devices > 1 else "auto", arguments.precision, arguments.xla)
    config = TrainConfig(
        arguments.examples,
        "unused",
        "0" * 16,
        options=Options(distribution=distribution, input=wanted),
        batch_size=arguments.batch_size,
    )
    training = config.apply_to(file.problem.training)
    if arguments.hidden_units:
        training = dataclasses.replace(training, hidden_units=arguments.hidden_units)
    examples = open_examples(arguments.examples, file.problem)
    return prepare(file, config, training, examples, lambda *_, **__: None)


def main():
    ways = (cached, by_turns, first_epoch, single, fit, checkpoint)
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=["devices", *(way.__name__ for way in ways)])
    parser.add_argument("examples", nargs="?")
    parser.add_argument("problem", nargs="?")
    parser.add_argument("--steps", type=int, default=64, help="a call")
    parser.add_argument("--calls", type=int, default=8)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--hidden-units", type=int, nargs="+")
    parser.add_argument("--steps-per-execution", type=int, default=1, help="Keras' own")
    parser.add_argument("--devices", type=int, default=1, help="how many the CPU is divided into")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--xla", action="store_true")
    parser.add_argument("--order", default="", help="of the first epoch")
    parser.add_argument("--cache", default="auto", help="of the first epoch")
    parser.add_argument("--later", action="store_true", help="after the first epoch, by turns with the limit")
    parser.add_argument("--folder", help="of checkpoints")
    arguments = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    if arguments.way == "devices":
        gpus = tf.config.list_physical_devices("GPU")
        names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
        print(json.dumps({"gpus": names, "tensorflow": tf.__version__}))
        return
    if arguments.devices > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * arguments.devices)
    prepared = prepared_for(arguments)
    found = {way.__name__: way for way in ways}[arguments.way](prepared, arguments)
    described = {"parameters": prepared.model.parameters, "batch": prepared.batch.rows}
    print(json.dumps({**found, **described}))


main()
