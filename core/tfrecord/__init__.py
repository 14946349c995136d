"""Arrow columns to TFRecord files of tf.train.Example, without TensorFlow; statistics, quarantine and manifest."""
