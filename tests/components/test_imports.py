"""TensorFlow comes without what only happens to be installed, which can still be imported afterwards."""

import subprocess
import sys


def test_tensorflow_comes_alone_and_the_rest_can_come_later() -> None:
    code = """
import sys
from headrace.components.imports import import_tensorflow
tf = import_tensorflow()
assert not {"sklearn", "scipy", "matplotlib"} & set(sys.modules), sorted(sys.modules)
import sklearn, scipy, matplotlib
layer = tf.keras.layers.Dense(1)
assert layer(tf.ones([2, 3])).shape == (2, 1)
assert import_tensorflow() is tf
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
