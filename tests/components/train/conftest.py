"""Examples made from the natality rows by protobuf's own encoder, so that these tests stand without preprocess."""

from __future__ import annotations

import csv
import dataclasses
import json
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from support.examples_manifest import write_manifest

from headrace.components.train.config import TrainConfig, TrainResult
from headrace.core.problem import Numeric, Problem
from headrace.core.problem.file import ProblemFile, load_problem

NATALITY = Path(__file__).parents[3] / "examples" / "natality"
Row = dict[str, Any]
IDENTITY = "0123456789abcdef"


@dataclasses.dataclass(frozen=True)
class Trained:
    """A finished training."""

    problem_file: ProblemFile
    examples: Path
    folder: Path
    result: TrainResult

    @property
    def training(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.folder / "training.json").read_text())
        return loaded


def write_examples(folder: Path, problem: Problem, rows: list[Row], *, shards: int = 2) -> Path:
    """Writes an Examples artifact of rows: numbers or strings by column, None where missing."""
    columns = [*problem.columns, *problem.targets]
    splits: dict[str, list[Row]] = {"train": [], "eval": [], "test": []}
    for row in rows:
        share = (zlib.crc32(str(row[problem.key]).encode()) % 1000) / 1000
        bound = problem.splits.train, problem.splits.train + problem.splits.eval
        splits["train" if share < bound[0] else "eval" if share < bound[1] else "test"].append(row)
    manifest: dict[str, dict[str, int]] = {}
    for split, members in splits.items():
        (folder / split).mkdir(parents=True)
        manifest[split] = {}
        for shard in range(shards):
            part = members[shard::shards]
            path = folder / split / f"part-{shard:05d}-of-{shards:05d}.tfrecord"
            with tf.io.TFRecordWriter(str(path)) as writer:
                for row in part:
                    writer.write(encode(problem, row))
            manifest[split][f"{split}/{path.name}"] = len(part)
    roles = dict(zip((column.name for column in problem.targets), ("label", "weight"), strict=False))
    described = [
        {
            "name": column.name,
            "kind": "numeric" if isinstance(column, Numeric) else "categorical",
            "role": roles.get(column.name, "feature"),
            "optional": column.optional,
        }
        for column in columns
    ]
    described.append({"name": problem.key, "kind": "key", "role": "key", "optional": False})
    measured = {column.name: measure([row[column.name] for row in splits["train"]]) for column in columns}
    write_json(folder / "schema.json", {"format": 1, "columns": described})
    write_json(folder / "statistics.json", {"format": 1, "rows": len(splits["train"]), "columns": measured})
    write_manifest(folder, manifest, problem=problem.name, schema_digest=problem.schema_digest)
    return folder


def encode(problem: Problem, row: Row) -> bytes:
    features = {problem.key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[str(row[problem.key]).encode()]))}
    for column in (*problem.columns, *problem.targets):
        value = row[column.name]
        if value is None:
            continue
        if isinstance(column, Numeric):
            features[column.name] = tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
        else:
            features[column.name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(example.SerializeToString(deterministic=True))


def measure(values: list[Any]) -> dict[str, Any]:
    there = [value for value in values if value is not None]
    counts = {"count": len(there), "missing": len(values) - len(there)}
    if all(isinstance(value, str) for value in there):
        vocabulary = sorted(Counter(there).items(), key=lambda item: (-item[1], item[0]))
        return {"kind": "categorical", **counts, "distinct": len(vocabulary), "vocabulary": vocabulary}
    numbers = np.array(there, dtype=np.float32).astype(np.float64)
    return {
        "kind": "numeric",
        **counts,
        "mean": float(numbers.mean()),
        "standard_deviation": float(numbers.std()),
        "minimum": float(numbers.min()),
        "maximum": float(numbers.max()),
        "quantiles": [float(q) for q in np.quantile(numbers, np.linspace(0, 1, 21))],
    }


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def births(problem: Problem) -> list[Row]:
    """The natality rows that have what the problem requires; plurality and others as strings, numbers as floats."""
    rows = []
    numbers = {column.name for column in (*problem.columns, problem.label) if isinstance(column, Numeric)}
    with (NATALITY / "births.csv").open(newline="") as file:
        for raw in csv.DictReader(file):
            row: Row = {name: (float(v) if name in numbers else v) if v else None for name, v in raw.items()}
            row["is_light"] = "yes" if float(raw["weight_pounds"]) < 5.5 else "no"
            if all(row[c.name] is not None for c in (*problem.columns, problem.label) if not c.optional):
                rows.append(row)
    return rows


@pytest.fixture(scope="session")
def natality() -> ProblemFile:
    """The problem file of the examples."""
    return load_problem(str(NATALITY / "natality.py"))


@pytest.fixture
def natality_rows(natality: ProblemFile) -> list[Row]:
    """The births, as rows by column."""
    return births(natality.problem)


@pytest.fixture(scope="session")
def make_examples(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes Examples of a problem: of the given rows, or of the births."""

    def make(problem: Problem, rows: list[Row] | None = None, *, shards: int = 2) -> Path:
        folder = tmp_path_factory.mktemp("examples") / problem.name
        return write_examples(folder, problem, births(problem) if rows is None else rows, shards=shards)

    return make


@pytest.fixture(scope="session")
def natality_examples(natality: ProblemFile, make_examples: Callable[..., Path]) -> Path:
    """Examples of the births."""
    return make_examples(natality.problem)


@pytest.fixture(scope="session")
def train_in(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Trained]:
    """Trains a problem on Examples in a new folder; further arguments are TrainConfig's."""
    from headrace.components.train.trainer import train

    def run(problem_file: ProblemFile, examples: Path, **overrides: Any) -> Trained:
        folder = tmp_path_factory.mktemp("train") / "model"
        config = TrainConfig(examples=str(examples), output=str(folder), identity=IDENTITY, **overrides)
        return Trained(problem_file, examples, folder, train(problem_file, config))

    return run


@pytest.fixture(scope="session")
def natality_model(natality: ProblemFile, natality_examples: Path, train_in: Callable[..., Trained]) -> Trained:
    """The births, trained as their problem file says."""
    return train_in(natality, natality_examples)
