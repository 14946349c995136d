"""SavedModels as TensorFlow 1 and its Estimators wrote them: graphs, tables, assets, initial operations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def session_model(folder: Path, tag_sets: Sequence[Sequence[str]] = (("serve",),), signature: str = "predict") -> str:
    """A matrix product and a lookup in a table without a file, by SavedModelBuilder, with one graph for each tag set.

    Its signature takes x [None, 2] float32 and w [None] string, and gives y [None, 1] and index [None] int64.
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    builder = v1.saved_model.Builder(str(folder))
    for number, tags in enumerate(tag_sets):
        with tf.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, [None, 2], "x")
            w = v1.placeholder(tf.string, [None], "w")
            values = tf.lookup.KeyValueTensorInitializer(["a", "b"], [0, 1], value_dtype=tf.int64)
            index = tf.lookup.StaticVocabularyTable(values, 2).lookup(w)
            y = tf.matmul(x, v1.get_variable("W", [2, 1], initializer=v1.ones_initializer()))
            session.run([v1.global_variables_initializer(), v1.tables_initializer()])
            definition = v1.saved_model.predict_signature_def({"x": x, "w": w}, {"y": y, "index": index})
            arguments: dict[str, Any] = {"signature_def_map": {signature: definition}}
            if number == 0:
                builder.add_meta_graph_and_variables(session, tags, main_op=v1.tables_initializer(), **arguments)
            else:
                builder.add_meta_graph(tags, main_op=v1.tables_initializer(), **arguments)
    builder.save()
    return str(folder)


def estimator_model(folder: Path, words: Sequence[str]) -> str:
    """What Estimator.export_saved_model wrote of a canned model: its signatures take serialized tf.train.Examples.

    The Examples have `age` (float) and `word` (bytes), which a vocabulary file of `words`, an asset, makes a number.
    `serving_default` and `regression` give age + that number, `classification` gives `classes` and `scores`,
    `predict` also `all_classes`; `raw` takes age and word as they are. The tables are made by `legacy_init_op`.
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    vocabulary = folder.parent / f"{folder.name}-words.txt"
    vocabulary.write_text("".join(f"{word}\n" for word in words))
    with tf.Graph().as_default(), v1.Session() as session:
        examples = v1.placeholder(tf.string, [None], "input_example_tensor")
        parsed = v1.io.parse_example(
            examples, {"age": v1.io.FixedLenFeature([1], tf.float32), "word": v1.io.FixedLenFeature([1], tf.string)}
        )
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, asset := tf.constant(str(vocabulary), name="vocabulary"))
        table = tf.lookup.StaticVocabularyTable(
            tf.lookup.TextFileInitializer(
                asset, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
            ),
            1,
        )
        bias = v1.get_variable("bias", [], initializer=v1.zeros_initializer())

        def total(age: Any, word: Any) -> Any:
            return age + tf.cast(table.lookup(word), tf.float32) + bias

        outputs = total(parsed["age"], parsed["word"])
        scores = tf.concat([outputs, -outputs], 1)
        classes = tf.tile(tf.constant([["up", "down"]]), [tf.shape(outputs)[0], 1])
        age, word = v1.placeholder(tf.float32, [None]), v1.placeholder(tf.string, [None])
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        signatures = {
            "serving_default": v1.saved_model.regression_signature_def(examples, outputs),
            "regression": v1.saved_model.regression_signature_def(examples, outputs),
            "classification": v1.saved_model.classification_signature_def(examples, classes, scores),
            "predict": v1.saved_model.predict_signature_def({"examples": examples}, {"all_classes": classes}),
            "raw": v1.saved_model.predict_signature_def({"age": age, "word": word}, {"total": total(age, word)}),
        }
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map=signatures,
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
            legacy_init_op=v1.tables_initializer(),
        )
        builder.save()
    vocabulary.unlink()
    return str(folder)
