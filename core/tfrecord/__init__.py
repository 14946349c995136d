"""TFRecord: encoding of Arrow columns as TFRecord files of tf.train.Example, and their reading, without TensorFlow."""
