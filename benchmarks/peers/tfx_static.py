"""TFX's side of benchmarks/static_local.py; it runs in an environment of its own, where TFX 1.16 is installed.

`run` is one static run on the local runner: CsvExampleGen, StatisticsGen, SchemaGen, ExampleValidator, Transform,
Trainer, Evaluator, Pusher, with Beam in memory. `score` answers how good the models of finished runs are: it is not
part of what is timed.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from pathlib import Path
from typing import Any

# What a run leaves under its root.
METADATA = "metadata.sqlite"
TIMES = "times.json"
PIPELINE = "flights"


def main() -> None:
    """Runs one of the two subcommands."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("--data", type=Path, required=True, help="folder with the CSV file")
    run.add_argument("--root", type=Path, required=True, help="an empty folder")
    run.add_argument("--steps", type=int, required=True)
    run.add_argument("--at-most", type=float, required=True, help="RMSE up to which the model is blessed")
    run.add_argument("--tuned", action="store_true", help="faster than TFX's own examples do it: see run_pipeline")
    score = commands.add_parser("score")
    score.add_argument("--held-out", type=Path, required=True, help="CSV file of rows that no run saw")
    score.add_argument("--output", type=Path, required=True, help="JSON file to write")
    score.add_argument("roots", type=Path, nargs="+", help="roots of finished runs")
    arguments = parser.parse_args()
    if arguments.command == "run":
        run_pipeline(arguments.data, arguments.root, arguments.steps, arguments.at_most, arguments.tuned)
    else:
        scores = [score_run(root, arguments.held_out) for root in arguments.roots]
        arguments.output.write_text(json.dumps(scores))


def run_pipeline(data: Path, root: Path, steps: int, at_most: float, tuned: bool) -> None:
    """One static run.

    Args:
        data: the folder with the CSV file.
        root: an empty folder for all that the run makes.
        steps: gradient steps.
        at_most: root mean squared error up to which Evaluator blesses the model.
        tuned: Transform and Trainer import tfx_flights (which must be on PYTHONPATH), where TFX's examples have TFX
            build a wheel of it and install that for each; and training does not have AutoGraph convert Keras 2.
    """
    begin = time.perf_counter()
    import tensorflow_model_analysis as tfma
    from tfx import v1 as tfx

    imported = time.perf_counter() - begin
    example_gen = tfx.components.CsvExampleGen(
        input_base=str(data),
        output_config=tfx.proto.Output(
            split_config=tfx.proto.SplitConfig(
                splits=[
                    tfx.proto.SplitConfig.Split(name=name, hash_buckets=share)
                    for name, share in (("train", 8), ("eval", 1), ("test", 1))
                ],
                partition_feature_name="key",
            )
        ),
    )
    examples = example_gen.outputs["examples"]
    statistics_gen = tfx.components.StatisticsGen(examples=examples)
    schema_gen = tfx.components.SchemaGen(statistics=statistics_gen.outputs["statistics"], infer_feature_shape=True)
    schema = schema_gen.outputs["schema"]
    example_validator = tfx.components.ExampleValidator(statistics=statistics_gen.outputs["statistics"], schema=schema)
    module_file = str(Path(__file__).with_name("tfx_flights.py"))
    preprocessing = {"preprocessing_fn": "tfx_flights.preprocessing_fn"} if tuned else {"module_file": module_file}
    training = {"run_fn": "tfx_flights.run_fn"} if tuned else {"module_file": module_file}
    transform = tfx.components.Transform(examples=examples, schema=schema, **preprocessing)
    trainer = tfx.components.Trainer(
        **training,
        custom_config={"tuned": tuned},
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema,
        train_args=tfx.proto.TrainArgs(num_steps=steps),
        # One pass over the eval split, a tenth of 15 thousand rows in batches of 40.
        eval_args=tfx.proto.EvalArgs(num_steps=38),
    )
    threshold = tfma.MetricThreshold(value_threshold=tfma.GenericValueThreshold(upper_bound={"value": at_most}))
    evaluator = tfx.components.Evaluator(
        examples=examples,
        example_splits=["test"],
        model=trainer.outputs["model"],
        eval_config=tfma.EvalConfig(
            model_specs=[tfma.ModelSpec(signature_name="serving_default", label_key="air_time")],
            slicing_specs=[tfma.SlicingSpec()],
            metrics_specs=[
                tfma.MetricsSpec(
                    metrics=[
                        tfma.MetricConfig(class_name="RootMeanSquaredError", threshold=threshold),
                        tfma.MetricConfig(class_name="MeanAbsoluteError"),
                        tfma.MetricConfig(class_name="ExampleCount"),
                    ]
                )
            ],
        ),
    )
    pusher = tfx.components.Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(root / "serving"))
        ),
    )
    pipeline = tfx.dsl.Pipeline(
        pipeline_name=PIPELINE,
        pipeline_root=str(root / "pipeline"),
        components=[
            example_gen,
            statistics_gen,
            schema_gen,
            example_validator,
            transform,
            trainer,
            evaluator,
            pusher,
        ],
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(str(root / METADATA)),
        beam_pipeline_args=[
            # Beam's default first tries to download a runner.
            "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner",
            "--direct_running_mode=in_memory",
            "--direct_num_workers=1",
        ],
    )
    tfx.orchestration.LocalDagRunner().run(pipeline)
    (root / TIMES).write_text(json.dumps({"import_seconds": imported}))


def score_run(root: Path, held_out: Path) -> dict[str, Any]:
    """How good the model of a finished run is.

    Returns:
        `own_rmse`: Evaluator's, on the run's own test split of `own_rows` rows; `held_out_rmse`: on `held_out`;
        `parameters`: trained numbers.

    Raises:
        RuntimeError: the run pushed no model.
    """
    import tensorflow as tf
    import tensorflow_model_analysis as tfma

    # Loading the model needs the ops that Transform's graph is made of.
    import tensorflow_transform  # noqa: F401

    pushed = sorted((root / "serving").glob("*"))
    if not pushed:
        raise RuntimeError(f"{root}: nothing was pushed")
    (evaluation,) = (root / "pipeline" / "Evaluator" / "evaluation").iterdir()
    metrics = tfma.load_eval_result(str(evaluation)).get_metrics_for_all_slices()[()]
    (size,) = (root / "pipeline" / "Trainer" / "model_run").glob("*/size.json")
    signature = tf.saved_model.load(str(pushed[-1])).signatures["serving_default"]
    squares = 0.0
    with held_out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for start in range(0, len(rows), 1000):
        batch = rows[start : start + 1000]
        outputs = signature(examples=tf.constant([_example(row) for row in batch]))["outputs"].numpy().ravel()
        squares += sum(
            (float(row["air_time"]) - float(output)) ** 2 for row, output in zip(batch, outputs, strict=True)
        )
    return {
        "own_rmse": metrics["root_mean_squared_error"]["doubleValue"],
        "own_rows": metrics["example_count"]["doubleValue"],
        "held_out_rmse": math.sqrt(squares / len(rows)),
        "parameters": json.loads(size.read_text())["parameters"],
    }


def _example(row: dict[str, str]) -> bytes:
    """A row as CsvExampleGen would have written it: whole numbers as int64, anything else as bytes."""
    import tensorflow as tf

    features = {
        name: tf.train.Feature(int64_list=tf.train.Int64List(value=[int(text)]))
        if text.isdigit()
        else tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()]))
        for name, text in row.items()
        if name not in ("key", "air_time")
    }
    serialized: bytes = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    return serialized


if __name__ == "__main__":
    main()
