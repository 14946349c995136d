"""SavedModels of ours and of others, and rows to score, as fixtures."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headrace.core.sources.source import Part, Rows

NATALITY = Path(__file__).parents[2] / "examples" / "natality"
NATALITY_VERSION = "a" * 16


def rows_of(columns: Mapping[str, Any] | pa.RecordBatch, first: int = 1) -> Rows:
    """Rows as a source gives them, numbered from `first`."""
    batch = columns if isinstance(columns, pa.RecordBatch) else pa.RecordBatch.from_pydict(dict(columns))
    return Rows(Part(0, "rows.parquet"), batch, np.arange(first, first + batch.num_rows))


@pytest.fixture(name="rows_of", scope="session")
def rows_of_fixture() -> Callable[..., Rows]:
    """`rows_of(columns)`: rows as a source gives them."""
    return rows_of


@pytest.fixture(scope="session")
def save(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """`save(function, *specs)`: a SavedModel of plain TensorFlow, which nothing of ours has touched."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    def make(function: Callable[..., Any], *specs: Any, signature: str = "serving_default") -> str:
        import tensorflow as tf

        module = tf.Module()
        module.predict = tf.function(function, input_signature=specs)
        folder = tmp_path_factory.mktemp("saved") / "model"
        tf.saved_model.save(module, str(folder), signatures={signature: module.predict})
        return str(folder)

    return make


@pytest.fixture(scope="session")
def natality_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Model of the births of the examples, by the steps that make one."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from headrace.components.preprocess.pipeline import PreprocessConfig, preprocess
    from headrace.components.train.config import TrainConfig
    from headrace.components.train.trainer import train
    from headrace.core.problem.file import load_problem

    root = tmp_path_factory.mktemp("natality")
    examples, model = str(root / "examples"), str(root / "model")
    problem_file = load_problem(str(NATALITY / "natality.py"))
    preprocess(problem_file, PreprocessConfig(str(NATALITY / "births.csv"), examples, "e" * 16))
    train(problem_file, TrainConfig(examples, model, NATALITY_VERSION, epochs=2))
    return model
