"""Trains the model of a Problem in several ways in one process, by turns, and prints the measurements as JSON.

Usage: training.py WAY EXAMPLES PROBLEM.py [options]

- inputs: our loop on our input in every form, each compared with the limit.
- loops: our loop, with XLA and without, and Keras' `fit`, on the same batches in the same order.
- cached: our loop on rows in memory.
- checkpoint: our loop, with checkpoints that are written meanwhile.
- devices: trains nothing, and prints the devices.

The limit is our loop on batches that were made before, in memory. A turn of every way is a round; the first round is
not counted.
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
import threading
import time

# Batches may have been prepared while another way trained: so many steps use them up.
UNCOUNTED = 64
LIMIT_STEPS = 640

Call = collections.namedtuple("Call", "seconds cpu steps waited loss")


def inputs(prepared, arguments):
    """Our input in every form; the limit is measured before and after each, in the same process."""
    ours, limit = prepared.trainee, Limit(prepared_for(arguments))
    ours.feed()
    proof = [call(run, UNCOUNTED).loss for run in (limit.run, ours.run)]
    one_by_one = single(prepared, arguments)
    found = collections.defaultdict(list)
    for number in range(arguments.rounds + 1):
        turns = {"memory": turn(limit.run, ours.run, arguments)}
        epoch, later = first_epoch(prepared, limit, arguments, arguments.repeated)
        turns["first"] = epoch
        turns["later"] = turn(limit.run, later, arguments)
        turns["small"], _ = first_epoch(prepared, limit, arguments, arguments.examples)
        turns["streamed"], _ = first_epoch(prepared, limit, arguments, arguments.examples, cache="none")
        turns["single"] = turn(limit.run, one_by_one.run, arguments, steps=8, uncounted=8)
        for name, calls in turns.items():
            if number:
                found[name].append(compared(*calls, prepared))
    step = statistics.median(1 / one["base_rows_per_cpu_second"] for one in found["memory"])
    return {"ways": found, "losses": proof, "profile": {**profile(prepared, arguments), "step": step}}


def counted(count, *_):
    return count + 1


def profile(prepared, arguments):
    """CPU seconds per row of each part of the input, alone, in one thread."""
    import numpy as np
    import tensorflow as tf

    from headrace.components.train.input.batches import Batches
    from headrace.components.train.input.examples import open_examples
    from headrace.components.train.input.records import BLOCK_ROWS, RowPreparer
    from headrace.components.train.input.row_cache import RowCache
    from headrace.components.train.input.row_order import Uniform
    from headrace.components.train.input.shard_stream import Shards

    problem = problem_of(arguments).problem
    train = open_examples(arguments.examples, problem).train
    shards, prepare = Shards.of(problem, train, 1), RowPreparer(problem, prepared.model.prepare)
    numbers, order = range(shards.blocks), Uniform(train.rows, 1)
    cache = RowCache(prepare.specification, train.rows, int)
    found = {}

    def measured(name, function, each):
        # Of this thread: others may still fill their buffers.
        begin = time.thread_time()
        results = [function(one) for one in each]
        found[name] = (time.thread_time() - begin) / train.rows
        return results

    # The first blocks pay for what is made once.
    for _ in range(2):
        raw = measured("read, decode and shuffle", lambda number: shards.shuffled(0, number), numbers)
        columns = [tf.nest.flatten(block) for block in measured("look up and normalize", prepare, raw)]
    measured("store in the cache", lambda number: cache.keep(number, columns[number]), numbers)
    cache.complete()
    places = [(n * BLOCK_ROWS, min(BLOCK_ROWS, train.rows - n * BLOCK_ROWS)) for n in numbers]
    chosen = measured("order of an epoch", lambda place: order.numbers(*place), places)
    measured("gather from the cache", cache.gather, chosen)
    ready = Batches(shards, prepare, prepared.batch.rows, True, None).of_rows(lambda *_: columns[0], 0, 0, 1).chunks
    # Many: some chunks are made ahead.
    chunks = 8 * train.rows // BLOCK_ROWS
    begin = time.process_time()
    ready.take(chunks).reduce(np.int64(0), counted)
    rows = chunks * np.prod(tf.nest.flatten(ready.element_spec)[0].shape[:2])
    found["hand over to TensorFlow"] = (time.process_time() - begin) / rows
    return found


def turn(limit, ours, arguments, steps=0, uncounted=UNCOUNTED):
    """Calls of the limit and of ours, alternately: another process on the machine slows both."""
    calls = {limit: [], ours: []}
    for _ in range(arguments.calls):
        for run in (limit, ours):
            run(uncounted)
            calls[run].append(call(run, steps or arguments.steps))
    return calls[limit], calls[ours]


def first_epoch(prepared, limit, arguments, folder, cache="auto"):
    """From the opening of the files to the end of the first epoch, between two calls of the limit."""
    from headrace.components.train.input import source as input_pipeline
    from headrace.components.train.input.examples import SplitFiles, open_examples
    from headrace.components.train.model.distinct_values import ByValue
    from headrace.components.train.options import Input

    many = arguments.steps * arguments.calls
    limit.run(UNCOUNTED)
    before = call(limit.run, many)
    problem = problem_of(arguments).problem
    examples = open_examples(folder, problem)
    # The limit evaluates nothing: of the eval split one shard is read here, not all.
    rows, file = examples.eval.shard_rows[0], examples.eval.files[0]
    some = SplitFiles(rows, (file,), pathlib.Path(file).stat().st_size, (rows,))
    examples = dataclasses.replace(examples, eval=some)
    # The model's own has looked up the strings of these rows already.
    prepare = ByValue(problem, examples.statistics, problem.training.model)
    begin, cpu = time.perf_counter(), time.process_time()
    source = input_pipeline.open_source(
        problem,
        examples,
        prepare,
        batch_size=prepared.batch.rows,
        seed=1,
        memory_bytes=prepared.machine.memory_bytes,
        wanted=Input(cache=cache),
    )
    trainee = limit.on(source.chunks)
    taken = trainee.run(examples.train.rows // prepared.batch.rows)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    loss = taken.loss_sum / taken.steps
    ours = Call(seconds, cpu, taken.steps, taken.waited_seconds, loss)
    return ([before, call(limit.run, many)], [ours]), trainee.run


class Limit:
    """Our loop on chunks of batches that were made before, each a piece of one tensor in memory.

    Args:
        prepared: its first chunks are taken, again and again.
    """

    def __init__(self, prepared):
        import tensorflow as tf

        chunks = prepared.source.chunks(0)
        batches = tf.nest.flatten(chunks.element_spec)[0].shape[0]
        some = list(chunks.take(-(-LIMIT_STEPS // batches)))
        stacked = tf.nest.map_structure(lambda *columns: tf.stack(columns), *some)
        del some
        ready = tf.data.Dataset.from_tensor_slices(stacked).repeat().prefetch(2)
        self.trainee = trainee_of(prepared, chunks=lambda *_: ready)
        self.trainee.feed()
        self.run = self.trainee.run
        # Another model, traced before the clock starts: each start is the same work.
        self._chunks = lambda *_: ready
        self._another = trainee_of(prepared, chunks=lambda *place: self._chunks(*place))
        self._another.feed()

    def on(self, chunks):
        """The loop on another stream, from its first batch."""
        self._chunks = chunks
        self._another.feed()
        return self._another


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
    features, labels = Shards.of(problem, open_examples(arguments.examples, problem).train, 1).in_order(0)
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
    return trainee


def loops(prepared, arguments):
    """Each way trains a model of its own on the same batches, by turns."""
    ways, fits = {}, {}
    if arguments.only != "fit":
        prepared.trainee.feed()
        ways["cached"] = prepared.trainee.run
    if not arguments.only:
        compiled = prepared_for(arguments, xla=True)
        compiled.trainee.feed()
        ways["xla"] = compiled.trainee.run
        fits["fit"] = Fit(prepared_for(arguments), arguments, 1)
        # Keras 3.15 fails on several steps a call with several devices.
        fits["fit_many"] = Fit(prepared_for(arguments), arguments, arguments.steps)
    if arguments.only == "fit":
        fits["fit"] = Fit(prepared, arguments, 1)
    ways.update((name, each.run) for name, each in fits.items())
    # Of the first calls: float32 sums in another order differ in their last digits, and steps carry that on.
    found, losses = collections.defaultdict(list), {}
    for number in range(arguments.rounds + 1):
        calls = {name: [] for name in ways}
        for _ in range(arguments.calls):
            for name, run in ways.items():
                if name in fits:
                    calls[name].append(run())
                    continue
                run(arguments.steps)
                calls[name].append(call(run, arguments.steps))
        for name, each in calls.items():
            if number:
                found[name].append(compared(calls[next(iter(ways))], each, prepared))
            else:
                losses[name] = each[0].loss
    for each in fits.values():
        each.close()
    return {"ways": found, "losses": losses}


class Fit:
    """`fit` with Adam and the same loss, in a thread that waits for its turn: two epochs of Keras, of which one counts.

    Args:
        prepared: the model and its input.
        arguments: steps of an epoch, and how many turns there are.
        steps: of an execution.
    """

    def __init__(self, prepared, arguments, steps):
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._prepared, self._arguments, self._steps = prepared, arguments, steps
        self._call = None
        self._thread = threading.Thread(target=self._fit, daemon=True)
        self._thread.start()

    def run(self):
        self._go.release()
        self._done.acquire()
        if isinstance(self._call, BaseException):
            raise self._call
        return self._call

    def close(self):
        """Waits for the end of `fit`: a thread in TensorFlow when the process ends would abort it."""
        self._thread.join()

    def _fit(self):
        try:
            self._train()
        except BaseException as error:
            self._call = error
            self._done.release()

    def _train(self):
        import keras
        import tensorflow as tf

        prepared, steps = self._prepared, self._arguments.steps
        core, deviation, scale = prepared.model.core, prepared.objective.deviation, prepared.objective.loss_scale
        waiter = self

        def loss(labels, outputs):
            return tf.square((tf.reshape(outputs, [-1]) - tf.reshape(labels, [-1])) / deviation)

        class Turns(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                if epoch % 2 == 0:
                    waiter._go.acquire()
                self.begin = time.perf_counter(), time.process_time()

            def on_epoch_end(self, epoch, logs=None):
                seconds, cpu = time.perf_counter() - self.begin[0], time.process_time() - self.begin[1]
                if epoch % 2:
                    waiter._call = Call(seconds, cpu, steps, None, logs["loss"] * scale)
                    waiter._done.release()

        with prepared.trainee.strategy.scope():
            core.compile(
                optimizer=keras.optimizers.Adam(prepared.batch.learning_rate),
                loss=loss,
                steps_per_execution=self._steps,
            )
        core.fit(
            prepared.source.batches(0),
            epochs=2 * self._arguments.calls * (self._arguments.rounds + 1),
            steps_per_epoch=steps,
            verbose=0,
            callbacks=[Turns()],
        )


def cached(prepared, arguments):
    prepared.trainee.feed()
    prepared.trainee.run(arguments.steps)
    calls = [call(prepared.trainee.run, arguments.steps) for _ in range(arguments.calls)]
    return compared(calls, calls, prepared)


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


def call(run, steps):
    """So many steps, and what they took."""
    begin, cpu = time.perf_counter(), time.process_time()
    taken = run(steps)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    return Call(seconds, cpu, taken.steps, taken.waited_seconds, taken.loss_sum / taken.steps)


def compared(base, calls, prepared):
    """The rates of some calls, and how many times faster than those of the base they are."""
    rows = prepared.batch.rows

    def seconds_per_step(some):
        return statistics.median(each.seconds / each.steps for each in some)

    def cpu_per_step(some):
        return sum(each.cpu for each in some) / sum(each.steps for each in some)

    waited = [each.waited / each.seconds for each in calls if each.waited is not None]
    return {
        "rows_per_second": rows / seconds_per_step(calls),
        "base_rows_per_second": rows / seconds_per_step(base),
        "rows_per_cpu_second": rows / cpu_per_step(calls),
        "base_rows_per_cpu_second": rows / cpu_per_step(base),
        "ratio": seconds_per_step(base) / seconds_per_step(calls),
        "cpu_ratio": cpu_per_step(base) / cpu_per_step(calls),
        "input_share": statistics.median(waited) if waited else None,
        "loss": calls[-1].loss,
    }


def trainee_of(prepared, batches=None, chunks=None):
    """The same model and optimizer on other batches, or chunks of them."""
    from headrace.components.train.loop.session import TrainSession

    own = prepared.trainee
    return TrainSession(
        own.core,
        own.objective,
        own.optimizer,
        own.strategy,
        batches or prepared.source.batches,
        prepared.source.eval_blocks,
        chunks=chunks,
        chosen=own.chosen,
    )


def problem_of(arguments):
    from headrace.core.problem.file import load_problem

    return load_problem(arguments.problem)


def prepared_for(arguments, xla=False):
    from headrace.components.train.config import TrainConfig
    from headrace.components.train.input.examples import open_examples
    from headrace.components.train.options import Distribution, Input, Options
    from headrace.components.train.preparation import prepare

    file = problem_of(arguments)
    wanted = Input(cache="memory")
    strategy = "mirrored" if arguments.devices > 1 else "auto"
    distribution = Distribution(strategy, arguments.precision, arguments.xla or xla)
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
    ways = (inputs, loops, cached, checkpoint)
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=["devices", *(way.__name__ for way in ways)])
    parser.add_argument("examples", nargs="?")
    parser.add_argument("problem", nargs="?")
    parser.add_argument("--only", choices=["cached", "fit"], help="one way of the loops")
    parser.add_argument("--repeated", help="Examples with more rows, for the first epoch")
    parser.add_argument("--rounds", type=int, default=3, help="that count")
    parser.add_argument("--calls", type=int, default=4, help="of each way in a round")
    parser.add_argument("--steps", type=int, default=64, help="of a call")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--hidden-units", type=int, nargs="+")
    parser.add_argument("--devices", type=int, default=1, help="into which the CPU is divided")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--xla", action="store_true")
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
