"""Time in the air of flights from New York, trained again every day; predicting the mean is off by 94 minutes."""

from headrace import Categorical, Gate, Numeric, Problem, Training

problem = Problem(
    name="flights",
    key="key",
    label=Numeric("air_time", minimum=1, maximum=1000),
    features=[
        Numeric("distance", minimum=1, maximum=6000),
        Categorical("hour"),
        Categorical("origin"),
        Categorical("dest", embedding=4),
        Categorical("carrier"),
    ],
    quarantine_budget=0.05,
    gate=Gate(metric="root_mean_squared_error", at_most=60.0),
    training=Training(batch_size=256, epochs=10, learning_rate=0.003, hidden_units=[32], seed=1),
)
