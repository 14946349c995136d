"""One row has the same bits by every protocol, in every batch, on both sides of a switch, and in batch scoring."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import max_examples
from support.saved_models import rows_of

from headrace.components.serve.modes.answerer import Answer
from headrace.components.serve.modes.dynamic import Dynamic
from headrace.components.serve.protocols import rows as by_row
from headrace.components.serve.protocols import v2
from headrace.components.serve.protocols.call import CallResponse, PredictCall
from headrace.core.saved_model.find import find_source
from headrace.core.scoring.online.current import CurrentModel
from headrace.core.scoring.online.model import OnlineModel
from headrace.core.scoring.predictor import BLOCK_ROWS
from headrace.core.scoring.scorer import Scorer

WIDTH = 5
PLACES = st.lists(st.integers(0, 149), min_size=1, max_size=60)
EDGES = ("instances", "inputs", "v2", "binary")


@dataclass(frozen=True)
class Pool:
    """Rows, and their predictions by batch scoring with two models."""

    rows: list[dict[str, Any]]
    models: list[OnlineModel]
    expected: list[list[bytes]]


def save(folder: Path, seed: int) -> str:
    """A model that rounds differently where calls are not whole blocks of rows, as matrix products do on some CPUs."""
    import tensorflow as tf

    chance = np.random.default_rng(seed)
    module = tf.Module()
    module.hidden = tf.Variable(chance.normal(size=(WIDTH + 2, 67)).astype(np.float32))
    module.last = tf.Variable(chance.normal(size=(67, 3)).astype(np.float32))

    def predict(x: Any, v: Any, text: Any) -> dict[str, Any]:
        length = tf.cast(tf.strings.length(text), tf.float32)
        layer = tf.tanh(tf.concat([x[:, None], length[:, None], v], 1) @ module.hidden)
        rounding = 1e-5 * tf.cast(tf.shape(x)[0] % BLOCK_ROWS, tf.float32)
        return {"y": layer @ module.last + rounding, "first": (layer @ module.last)[:, 0], "text": text}

    specs = [
        tf.TensorSpec([None], tf.float32, "x"),
        tf.TensorSpec([None, WIDTH], tf.float32, "v"),
        tf.TensorSpec([None], tf.string, "text"),
    ]
    module.predict = tf.function(predict, input_signature=specs)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.predict})
    return str(folder)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("models")
    chance = np.random.default_rng(7)
    rows = [
        {
            "x": float(np.float32(chance.normal())),
            "v": [float(value) for value in chance.normal(size=WIDTH).astype(np.float32)],
            "text": chance.choice(["a", "bb", "\u00fc", "x y"]),
        }
        for _ in range(150)
    ]
    rows = [{**row, "text": str(row["text"])} for row in rows]
    models, expected = [], []
    for number in range(2):
        path = save(folder / str(number), number)
        models.append(OnlineModel(replace(find_source(path), version=f"v{number}")))
        types = {"x": pa.float32(), "v": pa.list_(pa.float32()), "text": pa.string()}
        batch = pa.RecordBatch.from_pydict(
            {name: pa.array([row[name] for row in rows], kind) for name, kind in types.items()}
        )
        scored = Scorer(path).score(rows_of(batch))
        assert not scored.quarantined
        expected.append([np.array(y.as_py(), np.float32).tobytes() for y in scored.predictions.column("y")])
    assert expected[0] != expected[1]
    return Pool(rows, models, expected)


def body_of(edge: str, rows: Sequence[dict[str, Any]]) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """A request of some rows, and its headers."""
    if edge == "instances":
        return json.dumps({"instances": rows}).encode(), []
    columns = {name: [row[name] for row in rows] for name in ("x", "v", "text")}
    if edge == "inputs":
        return json.dumps({"inputs": columns}).encode(), []
    kinds = {"x": ("FP32", [len(rows)]), "v": ("FP32", [len(rows), WIDTH]), "text": ("BYTES", [len(rows), 1])}
    tensors: list[dict[str, Any]] = [{"name": n, "datatype": d, "shape": shape} for n, (d, shape) in kinds.items()]
    if edge == "v2":
        for tensor in tensors:
            tensor["data"] = columns[tensor["name"]]
        return json.dumps({"inputs": tensors}).encode(), []
    texts = [row["text"].encode() for row in rows]
    blobs = [
        np.array(columns["x"], "<f4").tobytes(),
        np.array(columns["v"], "<f4").tobytes(),
        b"".join(struct.pack("<I", len(text)) + text for text in texts),
    ]
    for tensor, blob in zip(tensors, blobs, strict=True):
        tensor["parameters"] = {"binary_data_size": len(blob)}
    head = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode()
    return head + b"".join(blobs), [(b"inference-header-content-length", str(len(head)).encode())]


def decode(edge: str, answerer: Dynamic, rows: Sequence[dict[str, Any]]) -> PredictCall:
    body, headers = body_of(edge, rows)
    if edge in ("instances", "inputs"):
        return by_row.decode(body, answerer.description, forms=by_row.ROWS_OR_COLUMNS, max_instances=1000)
    return v2.decode(body, headers, answerer.description, max_instances=1000)


def bits(edge: str, response: CallResponse) -> list[bytes]:
    """The bits of the output `y` of each row."""
    if edge == "binary":
        length = dict(response.headers)[b"inference-header-content-length"]
        content, at = json.loads(response.body[: int(length)]), int(length)
        for tensor in content["outputs"]:
            size = tensor["parameters"]["binary_data_size"]
            if tensor["name"] == "y":
                assert tensor["datatype"] == "FP32"
                array = np.frombuffer(response.body[at : at + size], "<f4").reshape(tensor["shape"])
            at += size
        return [row.tobytes() for row in array]
    content = json.loads(response.body)
    if edge == "instances":
        lists = [row["y"] for row in content["predictions"]]
    elif edge == "inputs":
        lists = content["outputs"]["y"]
    else:
        (flat,) = (np.array(t["data"]).reshape(t["shape"]) for t in content["outputs"] if t["name"] == "y")
        lists = flat.tolist()
    return [np.array(row, np.float32).tobytes() for row in lists]


@given(
    requests=st.lists(st.tuples(st.sampled_from(EDGES), PLACES), min_size=1, max_size=9),
    batches=st.lists(st.integers(1, 4), min_size=1, max_size=9),
    switches=st.sets(st.integers(0, 8)),
)
@max_examples(60)
def test_the_same_bits_everywhere(
    pool: Pool, requests: list[tuple[str, list[int]]], batches: list[int], switches: set[int]
) -> None:
    current = CurrentModel(pool.models[0])
    current.previous = pool.models[1]
    answerer = Dynamic(current)
    left = list(requests)
    turn = 0
    while left:
        size = batches[turn % len(batches)]
        batch, left = left[:size], left[size:]
        if turn in switches:
            current.back()
        now = pool.models.index(current.model)
        turn += 1
        calls = [decode(edge, answerer, [pool.rows[at] for at in places]) for edge, places in batch]
        answers = answerer.answer([call.request for call in calls])
        for (edge, places), call, answer in zip(batch, calls, answers, strict=True):
            assert isinstance(answer, Answer)
            assert answer.version == f"v{now}"
            assert bits(edge, call.respond(answer)) == [pool.expected[now][at] for at in places]
