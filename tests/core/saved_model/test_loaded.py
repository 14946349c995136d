"""SavedModels that are not ours: what they take is seen, and what cannot be fed from columns is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.core.errors import DataError, UsageError
from headrace.core.saved_model.interface import ModelBinding, ModelInput, ModelOutput

Save = Callable[..., str]


def load(path: str, signature: str = "serving_default") -> Any:
    from headrace.core.saved_model.loaded import SavedModel

    return SavedModel(path, signature)


def spec(shape: Any, dtype: str = "float32", name: str = "x") -> Any:
    import tensorflow as tf

    return tf.TensorSpec(shape, dtype, name)


def test_named_inputs_of_several_dtypes(save: Save) -> None:
    import tensorflow as tf

    path = save(
        lambda age, name, flag, pixels: {
            "score": tf.cast(age, tf.float32)[:, None],
            "label": name,
            "both": tf.stack([age, age], 1),
            "flag": flag,
            "any": pixels,
        },
        spec([None], "int64", "age"),
        spec([None], "string", "name"),
        spec([None], "bool", "flag"),
        spec([None, None], "float16", "pixels"),
    )
    assert load(path).takes() == ModelBinding(
        "serving_default",
        (
            ModelInput("age", "int64", None, ("age",)),
            ModelInput("flag", "bool", None, ("flag",)),
            ModelInput("name", "string", None, ("name",)),
            ModelInput("pixels", "float16", 0, ("pixels",)),
        ),
        (
            ModelOutput("any", "float16", 0),
            ModelOutput("both", "int64", 2),
            ModelOutput("flag", "bool"),
            ModelOutput("label", "string"),
            ModelOutput("score", "float32", listed=True),
        ),
    )


@pytest.mark.parametrize(
    ("shape", "dtype", "received"),
    [
        (None, "float32", "float32 of unknown rank"),
        ([None], "complex64", "dtype complex64"),
    ],
)
def test_an_input_that_no_columns_make_is_refused_with_a_paragraph(
    save: Save, shape: Any, dtype: str, received: str
) -> None:
    path = save(lambda x: {"y": x}, spec(shape, dtype))
    with pytest.raises(DataError) as caught:
        load(path).takes()
    assert caught.match(
        r'model, serving_default: the signature\'s input "x" cannot be mapped to columns. Expected one value '
        rf"per row \(shape \[None\]\), or lists of them .* Received: {received}. Export a signature that"
    )


@pytest.mark.parametrize("kind", ["ragged", "sparse"])
def test_a_ragged_or_a_sparse_input_is_refused_though_its_parts_look_like_columns(save: Save, kind: str) -> None:
    import tensorflow as tf

    if kind == "ragged":
        path = save(lambda x: {"y": tf.reduce_sum(x, 1)}, tf.RaggedTensorSpec([None, None], tf.float32))
    else:
        path = save(lambda x: {"y": tf.sparse.to_dense(x)}, tf.SparseTensorSpec([None, 4], tf.float32))
    assert sorted(load(path).inputs)[:2] == ["x", "x_1"]
    with pytest.raises(DataError, match=rf'input "x" cannot be mapped to columns.*Received: a {kind} tensor'):
        load(path).takes()


def test_inputs_that_are_only_named_as_the_parts_of_a_ragged_one_are_taken(save: Save) -> None:
    path = save(lambda x, x_1: {"y": x + x_1}, spec([None]), spec([None], name="x_1"))
    assert [taken.name for taken in load(path).takes().inputs] == ["x", "x_1"]


def test_a_ragged_output_is_refused(save: Save) -> None:
    import tensorflow as tf

    path = save(lambda x: {"y": tf.RaggedTensor.from_tensor(x[:, None])}, spec([None]))
    with pytest.raises(DataError, match=r'output "y" cannot be mapped.*Received: a ragged tensor'):
        load(path).takes()


def test_an_output_that_no_columns_hold_is_refused(save: Save) -> None:
    import tensorflow as tf

    path = save(lambda x: {"y": tf.strings.as_string(x[:, :, None] + tf.transpose(x)[:1])}, spec([None, None]))
    with pytest.raises(DataError, match=r'output "y" cannot be mapped.*string of shape \(None, None, None\)'):
        load(path).takes()
    assert load(path).takes(any_outputs=True).outputs == ()
    for output in (tf.complex, lambda x, _: tf.sparse.from_dense(x[:, None])):
        other = save(_pairs(output), spec([None]))
        with pytest.raises(DataError, match='output "y" cannot be mapped'):
            load(other).takes(any_outputs=True)


def _pairs(output: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: {"y": output(x, x)}


def test_tensors_of_rank_3_and_outputs_of_one_value_per_call(save: Save) -> None:
    import tensorflow as tf

    path = save(lambda x: {"y": tf.reduce_sum(x, -1), "n": tf.reduce_sum(x)}, spec([None, 4, 3, 2]))
    takes = load(path).takes()
    assert takes.inputs == (ModelInput("x", "float32", 24, ("x",), dims=(4, 3, 2)),)
    assert takes.outputs == (ModelOutput("n", "float32", per_call=True), ModelOutput("y", "float32", 12, dims=(4, 3)))
    assert [each.shape for each in (*takes.inputs, *takes.outputs)] == ["[rows, 4, 3, 2]", "[]", "[rows, 4, 3]"]


def test_a_signature_is_named(save: Save) -> None:
    path = save(lambda x: {"y": x}, spec([None]), signature="score")
    assert load(path, "score").takes().signature == "score"
    with pytest.raises(
        DataError, match=r"Expected a signature serving_default. Received: score. Choose one of them with --signature"
    ):
        load(path)


def test_what_is_no_saved_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the SavedModel cannot be loaded"):
        load(str(tmp_path))


DENSE = ModelBinding("serving_default", (ModelInput("x", "float32", 3, ("x",)),), (ModelOutput("y", "float32"),))
OPEN = ModelBinding("serving_default", (ModelInput("x", "float32", 0, ("x",)),), (ModelOutput("y", "float32"),))
TWO = ModelBinding("s", (ModelInput("a", "int64", None, ("a",)), ModelInput("b", "string", None, ("b",), True)), ())


def test_columns_are_chosen_for_inputs() -> None:
    assert DENSE.dense(["c", "a", "b"]).columns == ("c", "a", "b")
    assert DENSE.fed({"x": "lists"}).inputs[0].from_lists
    assert OPEN.dense(["c", "a"]).inputs[0].width == 2
    assert TWO.fed({"a": "age"}).columns == ("age", "b")
    with pytest.raises(
        UsageError, match=r"x: the number of columns does not match.*Expected 3 columns, or one of lists"
    ):
        DENSE.dense(["a", "b"])
    with pytest.raises(
        UsageError, match=r'does not exist in the model. Expected one of a, b. Received: aa. Perhaps "a"'
    ):
        TWO.fed({"aa": "x"})
    with pytest.raises(UsageError, match=r"Expected INPUT=COLUMN.*: a model with the inputs a int64 \[rows\], b"):
        TWO.dense(["x"])
    with pytest.raises(
        UsageError, match=r"a: the number of columns does not match.*Expected 1 column. Received: 2: x, y"
    ):
        TWO.fed({"a": ["x", "y"]})


def test_columns_that_may_be_missing_may_be_missing_whole() -> None:
    assert TWO.columns_among(["z", "a"]) == ("a",)
    with pytest.raises(
        DataError,
        match=r"a: a column is missing from the rows. Expected a column a, for the model's input a. Rec.*z, aa",
    ):
        TWO.columns_among(["z", "aa"])


def test_what_a_model_takes_is_text_to_read() -> None:
    takes = TWO.fed({"a": "age"})
    assert DENSE.text().splitlines() == [
        "signature serving_default, key none",
        "",
        "takes  dtype    shape      from",
        "x      float32  [rows, 3]  x, a column of lists",
        "",
        "gives  dtype    shape   to",
        "y      float32  [rows]  y",
    ]
    assert takes.text().splitlines()[3:5] == [
        "a      int64   [rows]  age",
        'b      string  [rows]  b (may be missing: "")',
    ]
