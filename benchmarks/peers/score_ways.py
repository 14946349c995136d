"""One way to score Parquet, or tensors in memory. Prints its seconds, without imports and loading, as JSON.

Usage: score_ways.py WAY MODEL INPUT.parquet OUTPUT [BATCH | URL]
WAY: headrace, headrace_beam, profile (headrace, with the CPU seconds of its parts), run_inference, by_row, endpoint (at
URL), or model (tensors of BATCH rows).
"""

import json
import os
import sys
import time

# What some ways print beside their seconds.
PRINTED = {"model": "rows", "profile": "parts"}


def headrace(model, source, output, _):
    yield from scored(model, source, output)


def profile(model, source, output, _):
    from parts import Parts

    from headrace.components.score.batch import score_part
    from headrace.components.score.sinks.blocks import PartWriter
    from headrace.core.scoring.scorer import Scorer

    parts = Parts()
    for owner, name, part in (
        (score_part, "read_part", "read Parquet"),
        (Scorer, "prepare", "check rows, make the inputs"),
        (Scorer, "finish", "check predictions, make columns"),
        (PartWriter, "write", "write Parquet, distribution"),
        (PartWriter, "close", "write Parquet, distribution"),
        (score_part.OutputDistributions, "measure", "write Parquet, distribution"),
    ):
        parts.time(owner, name, part)
    work = scored(model, source, output)
    next(work)
    yield
    begin = time.process_time()
    next(work, None)
    yield parts.fractions(time.process_time() - begin, "the model and the rest")


def headrace_beam(model, source, output, _):
    from headrace.core.beam.runners import DirectRunner

    yield from scored(model, source, output, runner=DirectRunner())


def endpoint(model, source, output, url):
    from headrace.components.score.options import EndpointOptions

    yield from scored(model, source, output, approach="endpoint", endpoint=EndpointOptions(url))


def scored(model, source, output, **options):
    from headrace.components.score.batch import run
    from headrace.components.score.config import ScoreConfig
    from headrace.components.score.score import score

    config = ScoreConfig(model, source, output, "0" * 16, data_version="0" * 64, **options)
    if config.runner is not None:
        import headrace.components.score.batch.beam_job  # noqa: F401 - what the run would import

        config.runner.make()
    if config.endpoint is None:
        run.model_of(config).load()
    yield
    score(config)


def run_inference(model, source, output, _):
    """As Beam's guide has it, its batches fixed at 4096 rows; a handler of ours loads what TFModelHandler cannot."""
    import apache_beam as beam
    import tensorflow as tf
    from apache_beam.io.parquetio import ReadFromParquet, WriteToParquet
    from apache_beam.ml.inference.base import ModelHandler, PredictionResult, RunInference
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    class Handler(ModelHandler):
        def load_model(self):
            return tf.loaded_for_benchmark

        def batch_elements_kwargs(self):
            return {"min_batch_size": 4096, "max_batch_size": 4096}

        def run_inference(self, batch, signature, inference_args=None):
            predictions = signature(batch)
            return [PredictionResult(row, prediction) for row, prediction in zip(batch, predictions, strict=True)]

    names = preload(model).columns
    yield
    with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([])) as pipeline:
        (
            pipeline
            | ReadFromParquet(source, columns=["key", *names])
            | RunInference(Handler())
            | beam.Map(lambda result: {"key": result.example["key"], "prediction": float(result.inference)})
            | WriteToParquet(f"{output}/part", parquet_schema(), file_name_suffix=".parquet")
        )


def by_row(model, source, output, _):
    """A call of the model for each row, which is what a first pipeline does."""
    import apache_beam as beam
    from apache_beam.io.parquetio import ReadFromParquet, WriteToParquet
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    class Predict(beam.DoFn):
        def setup(self):
            import tensorflow as tf

            self.signature = tf.loaded_for_benchmark

        def process(self, row):
            yield {"key": row["key"], "prediction": float(self.signature([row])[0])}

    names = preload(model).columns
    yield
    with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([])) as pipeline:
        (
            pipeline
            | ReadFromParquet(source, columns=["key", *names])
            | beam.ParDo(Predict())
            | WriteToParquet(f"{output}/part", parquet_schema(), file_name_suffix=".parquet")
        )


def model(folder, source, _, batch):
    """The model's own rate: calls with tensors that are in memory, over and over for two seconds at least."""
    import pyarrow.parquet as pq

    signature = Signature(folder)
    rows = next(pq.ParquetFile(source).iter_batches(int(batch))).to_pylist()
    rows = (rows * (int(batch) // len(rows) + 1))[: int(batch)]
    tensors = signature.tensors(rows)
    for _ in range(3):
        signature.call(**tensors)
    yield
    begin = time.perf_counter()
    calls = 0
    while time.perf_counter() - begin < 2 or calls < 3:
        signature.call(**tensors)["prediction"].numpy()
        calls += 1
    yield calls * int(batch)


class Signature:
    """A SavedModel that is given rows as dictionaries."""

    def __init__(self, folder):
        import tensorflow as tf

        self._tf = tf
        self._loaded = tf.saved_model.load(f"{folder}/saved_model")
        self.call = self._loaded.signatures["serving_default"]
        self.specs = self.call.structured_input_signature[1]
        self.columns = [name for name in self.specs if name != "key"]

    def tensors(self, rows):
        tensors = {}
        for name, spec in self.specs.items():
            if spec.dtype == self._tf.string:
                values = [row[name] or "" for row in rows]
            else:
                values = [float("nan") if row[name] is None else row[name] for row in rows]
            tensors[name] = self._tf.constant(values, spec.dtype)
        return tensors

    def __call__(self, rows):
        return self.call(**self.tensors(rows))["prediction"].numpy()


def preload(model):
    """Loads the model before time is taken, as for headrace. Stages are pickled, so that they find it in a module."""
    import tensorflow as tf

    tf.loaded_for_benchmark = Signature(model)
    return tf.loaded_for_benchmark


def parquet_schema():
    import pyarrow as pa

    return pa.schema([("key", pa.string()), ("prediction", pa.float32())])


def main():
    name, folder, source, output, *more = sys.argv[1:]
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    ways = (headrace, headrace_beam, profile, run_inference, by_row, endpoint, model)
    work = {way.__name__: way for way in ways}[name](folder, source, output, *(more or [""]))
    next(work)
    begin, cpu = time.perf_counter(), time.process_time()
    more = next(work, None)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    print(json.dumps({"seconds": seconds, "cpu": cpu, **({} if more is None else {PRINTED[name]: more})}))


main()
