"""Minutes in the air of flights from New York, from few columns: what examples/stream trains in seconds."""

from headrace import Categorical, Gate, Monitor, Numeric, Problem, Training

problem = Problem(
    name="flights",
    key="flight",
    label=Numeric("air_time", minimum=1, maximum=2000),
    features=[
        Numeric("distance", minimum=1, maximum=6000),
        Categorical("hour"),
        Categorical("origin"),
        Categorical("carrier"),
    ],
    # Minutes (root mean squared). Predicting the mean for everyone is off by 94.
    gate=Gate(metric="root_mean_squared_error", at_most=18.0),
    monitor=Monitor(minimum_rows=100),
    training=Training(batch_size=256, epochs=20, learning_rate=0.005, hidden_units=[64, 32], seed=1),
)
