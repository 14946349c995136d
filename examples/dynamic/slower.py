"""The problem of flights.py, with a model that is as good and needs far more time for each call.

Nothing in its evaluation shows that: the canary does.
"""

import dataclasses

import keras
from flights import problem as declared
from keras import ops

from headrace import Numeric

# Products of matrices of 512 rows; 16 of them are some 40 ms of work on one core.
SIZE = 512
problem = dataclasses.replace(declared, hyperparameters={"products": 16})


def build_model(problem, statistics, hyperparameters):
    inputs, parts = {}, []
    for column in problem.columns:
        measured = statistics[column.name]
        if isinstance(column, Numeric):
            inputs[column.name] = keras.Input(shape=(), name=column.name, dtype="float32")
            scaled = (inputs[column.name] - measured["mean"]) / measured["standard_deviation"]
            parts.append(ops.expand_dims(scaled, 1))
        else:
            inputs[column.name] = keras.Input(shape=(), name=column.name, dtype="string")
            values = [value for value, _ in measured["vocabulary"]]
            lookup = keras.layers.StringLookup(vocabulary=values, output_mode="one_hot")
            parts.append(lookup(ops.expand_dims(inputs[column.name], 1)))
    hidden = keras.layers.Dense(64, activation="relu")(ops.concatenate(parts, axis=1))
    minutes = keras.layers.Dense(1, bias_initializer=keras.initializers.Constant(150.0))(hidden)
    matrix = ops.stop_gradient(ops.sum(inputs["distance"]) * 1e-9 + ops.full((SIZE, SIZE), 1e-3))
    for _ in range(hyperparameters["products"]):
        matrix = ops.matmul(matrix, matrix) * 1e-3
    # A use of the result that changes nothing, so that the work is done.
    work = ops.sum(matrix)
    model = keras.Model(inputs, ops.where(work > 1e30, work, minutes))
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse")
    return model
