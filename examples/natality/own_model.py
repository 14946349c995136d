"""More than one child, from weight and weeks: a Keras model of one's own, as Keras' tutorials write them."""

import keras

from headrace.core.problem import Categorical, Gate, Numeric, Problem, Training

problem = Problem(
    name="twins",
    key="record_id",
    label=Categorical("plurality", vocabulary=["single", "twins", "triplets"]),
    features=[
        Numeric("weight_pounds", minimum=0.5, maximum=20.0),
        Numeric("gestation_weeks", minimum=17, maximum=47),
        Numeric("weight_gain_pounds", minimum=0, maximum=150, optional=True),
        Categorical("mother_race"),
    ],
    # The shares of the classes alone have 0.16.
    gate=Gate(metric="log_loss", at_most=0.16),
    training=Training(batch_size=32, epochs=5, seed=1),
    hyperparameters={"units": 16},
)


def build_model(problem, statistics, hyperparameters):
    inputs, columns = {}, []
    for name in (column.name for column in problem.columns if isinstance(column, Numeric)):
        measured = statistics[name]
        inputs[name] = keras.Input(shape=(), name=name, dtype="float32")
        # A missing number is NaN.
        known = keras.ops.where(keras.ops.isnan(inputs[name]), measured["mean"], inputs[name])
        columns.append((known - measured["mean"]) / measured["standard_deviation"])
    inputs["mother_race"] = keras.Input(shape=(), name="mother_race", dtype="string")
    values = [value for value, count in statistics["mother_race"]["vocabulary"]]
    lookup = keras.layers.StringLookup(vocabulary=values, output_mode="one_hot")
    joined = keras.ops.concatenate(
        [keras.ops.stack(columns, axis=1), lookup(keras.ops.expand_dims(inputs["mother_race"], 1))], axis=1
    )
    hidden = keras.layers.Dense(hyperparameters["units"], activation="relu", name="hidden")(joined)
    probabilities = keras.layers.Dense(3, activation="softmax", name="probabilities")(hidden)
    model = keras.Model(inputs, probabilities)
    model.compile(
        optimizer=keras.optimizers.Adam(0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    return model
