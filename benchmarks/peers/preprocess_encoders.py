"""One encoder at a time: Arrow batches to one TFRecord file, on one core. Prints its seconds as JSON.

Usage: preprocess_encoders.py headrace|tensorflow|tfx_bsl INPUT.arrow OUTPUT.tfrecord
"""

import json
import os
import sys
import time

import pyarrow as pa


def headrace(batches, output):
    from pathlib import Path

    from headrace.core.tfrecord.framing import TFRecordWriter

    yield
    with TFRecordWriter(Path(output)) as writer:
        for batch in batches:
            writer.write_examples(batch)


def tensorflow(batches, output):
    """As TensorFlow's guides have it: an Example by keywords for each row."""
    import tensorflow as tf

    Example, Features, Feature = tf.train.Example, tf.train.Features, tf.train.Feature  # noqa: N806
    BytesList, FloatList, Int64List = tf.train.BytesList, tf.train.FloatList, tf.train.Int64List  # noqa: N806
    yield
    with tf.io.TFRecordWriter(output) as writer:
        for batch in batches:
            names = batch.schema.names
            floats = [pa.types.is_floating(kind) for kind in batch.schema.types]
            integers = [pa.types.is_integer(kind) for kind in batch.schema.types]
            columns = [column.to_pylist() for column in batch.columns]
            for row in zip(*columns, strict=True):
                features = {}
                for name, is_float, is_integer, value in zip(names, floats, integers, row, strict=True):
                    if value is None:
                        continue
                    if is_float:
                        features[name] = Feature(float_list=FloatList(value=[value]))
                    elif is_integer:
                        features[name] = Feature(int64_list=Int64List(value=[value]))
                    else:
                        features[name] = Feature(bytes_list=BytesList(value=[value.encode()]))
                writer.write(Example(features=Features(feature=features)).SerializeToString())


def tfx_bsl(batches, output):
    """TFX's encoder in C++, which takes a column as lists, and TensorFlow's writer."""
    import numpy as np
    import tensorflow as tf
    from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

    yield
    encoder = RecordBatchToExamplesEncoder()
    with tf.io.TFRecordWriter(output) as writer:
        for batch in batches:
            columns = []
            for column in batch.columns:
                # A missing value is a row without a list; the offset of its successor is its own.
                present = column.is_valid().to_numpy(zero_copy_only=False)
                ends = np.concatenate([[0], np.cumsum(present)]).astype(np.int32)
                offsets = pa.array(ends, mask=np.concatenate([~present, [False]]))
                values = column.drop_null()
                # It takes bytes, and no strings.
                values = values.cast(pa.binary()) if pa.types.is_string(values.type) else values
                columns.append(pa.ListArray.from_arrays(offsets, values))
            for record in encoder.encode(pa.RecordBatch.from_arrays(columns, names=batch.schema.names)):
                writer.write(record)


def main():
    name, source, output = sys.argv[1:4]
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    pa.set_cpu_count(1)
    with pa.memory_map(source) as file:
        reader = pa.ipc.open_file(file)
        batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
        work = {"headrace": headrace, "tensorflow": tensorflow, "tfx_bsl": tfx_bsl}[name](batches, output)
        next(work)
        begin, cpu = time.perf_counter(), time.process_time()
        next(work, None)
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
        rows = sum(batch.num_rows for batch in batches)
    print(json.dumps({"seconds": seconds, "cpu": cpu, "rows": rows, "bytes": os.path.getsize(output)}))  # noqa: PTH202


main()
