"""TFRecord: encoding of Arrow columns as TFRecord files of tf.train.Example, and their reading, without TensorFlow."""

# The column of a TFRecord file that holds each record as it lies, a serialized tf.train.Example.
EXAMPLE_COLUMN = "@example"
