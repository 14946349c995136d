"""The whole component in Beam, or the same pipeline row by row. Prints its seconds, without imports, as JSON.

Usage: preprocess_component.py headrace|profile|rows INPUT.parquet OUTPUT PROBLEM.py

`profile` is the component again, with the CPU seconds of its parts.
"""

import json
import os
import sys
import time
import zlib


def headrace(source, output, problem):
    from headrace.components.preprocess import pipeline as beam_job
    from headrace.core.problem.file import load_problem

    file = load_problem(problem)
    yield
    beam_job.preprocess(file, beam_job.PreprocessConfig(source, output, "0" * 16, data_version="0" * 64))


def profile(source, output, problem):
    from parts import Parts

    from headrace.components.preprocess import stages

    parts = Parts()
    for name, part in (
        ("read_rows", "read Parquet"),
        ("with_derived", "validate"),
        ("validate", "validate"),
        ("_cut", "split and sort by shard"),
        ("_write_pieces", "spill batches to disk"),
        ("_read_piece", "spill batches to disk"),
        ("_without_duplicates", "find duplicate keys"),
        ("measure", "statistics"),
        ("write_records", "encode and write"),
    ):
        parts.time(stages, name, part)
    work = headrace(source, output, problem)
    next(work)
    yield
    begin = time.process_time()
    next(work, None)
    yield parts.fractions(time.process_time() - begin, "Beam, manifest and the rest")


def rows(source, output, problem):
    """What Beam's and TensorFlow's guides amount to: one row an element, one Example a row."""
    import apache_beam as beam
    import tensorflow as tf
    from apache_beam.io.parquetio import ReadFromParquet
    from apache_beam.io.tfrecordio import WriteToTFRecord
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from headrace import Numeric
    from headrace.core.problem.file import load_problem

    declared = load_problem(problem).problem
    columns = (declared.label, *declared.columns)
    numbers = [column for column in columns if isinstance(column, Numeric)]
    texts = [column for column in columns if not isinstance(column, Numeric)]
    names = [declared.key, *(column.name for column in columns)]
    Example, Features, Feature = tf.train.Example, tf.train.Features, tf.train.Feature  # noqa: N806
    BytesList, FloatList = tf.train.BytesList, tf.train.FloatList  # noqa: N806

    def check(row):
        if row[declared.key] is None:
            return
        for column in numbers:
            value = row[column.name]
            if value is None or value != value:
                if not column.optional:
                    return
            elif not column.minimum <= value <= column.maximum:
                return
        for column in texts:
            value = row[column.name]
            if value is None:
                if not column.optional:
                    return
            elif column.vocabulary is not None and value not in column.vocabulary:
                return
        yield row

    def split_of(row, count):  # noqa: ARG001
        place = zlib.crc32(row[declared.key].encode()) % 10
        return 0 if place < 8 else place - 7

    def example(row):
        features = {declared.key: Feature(bytes_list=BytesList(value=[row[declared.key].encode()]))}
        for column in numbers:
            value = row[column.name]
            if value is not None:
                features[column.name] = Feature(float_list=FloatList(value=[value]))
        for column in texts:
            value = row[column.name]
            if value is not None:
                features[column.name] = Feature(bytes_list=BytesList(value=[value.encode()]))
        return Example(features=Features(feature=features)).SerializeToString()

    class Statistics(beam.CombineFn):
        """Count, sum, sum of squares, least and greatest of numbers; counts of texts."""

        def create_accumulator(self):
            return {c.name: [0, 0.0, 0.0, float("inf"), float("-inf")] for c in numbers}, {c.name: {} for c in texts}

        def add_input(self, accumulator, row):
            measured, counted = accumulator
            for name, sums in measured.items():
                value = row[name]
                if value is not None:
                    sums[0] += 1
                    sums[1] += value
                    sums[2] += value * value
                    sums[3] = min(sums[3], value)
                    sums[4] = max(sums[4], value)
            for name, counts in counted.items():
                value = row[name]
                if value is not None:
                    counts[value] = counts.get(value, 0) + 1
            return accumulator

        def merge_accumulators(self, accumulators):
            first, *others = accumulators
            for measured, counted in others:
                for name, sums in measured.items():
                    mine = first[0][name]
                    for place in range(3):
                        mine[place] += sums[place]
                    mine[3], mine[4] = min(mine[3], sums[3]), max(mine[4], sums[4])
                for name, counts in counted.items():
                    for value, count in counts.items():
                        first[1][name][value] = first[1][name].get(value, 0) + count
            return first

        def extract_output(self, accumulator):
            return json.dumps(accumulator)

    yield
    with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([])) as pipeline:
        good = pipeline | ReadFromParquet(source, columns=names) | beam.FlatMap(check)
        splits = good | beam.Partition(split_of, 3)
        for name, split in zip(("train", "eval", "test"), splits, strict=True):
            records = split | f"Example {name}" >> beam.Map(example)
            records | f"write {name}" >> WriteToTFRecord(f"{output}/{name}/part", file_name_suffix=".tfrecord")
        statistics = splits[0] | beam.CombineGlobally(Statistics())
        statistics | "write statistics" >> beam.io.WriteToText(f"{output}/statistics", shard_name_template="")


def main():
    name, source, output, problem = sys.argv[1:5]
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    work = {"headrace": headrace, "profile": profile, "rows": rows}[name](source, output, problem)
    next(work)
    begin, cpu = time.perf_counter(), time.process_time()
    parts = next(work, None)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    print(json.dumps({"seconds": seconds, "cpu": cpu, **({} if parts is None else {"parts": parts})}))


main()
