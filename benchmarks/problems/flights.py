"""Time in the air of flights from New York in 2013: the problem that the benchmarks share with their peers."""

from headrace import Categorical, Gate, Numeric, Problem, Training

problem = Problem(
    name="flights",
    key="key",
    label=Numeric("air_time", minimum=1, maximum=1000),
    features=[
        Numeric("distance", minimum=1),
        Numeric("hour", minimum=0, maximum=24, buckets=[8, 12, 16, 20]),
        Numeric("day", minimum=1, maximum=31),
        Categorical("origin"),
        Categorical("carrier"),
        Categorical("month"),
        Categorical("dest", embedding=8),
    ],
    gate=Gate(metric="root_mean_squared_error", at_most=20.0),
    # Steps end the training, not epochs; patience is out of reach, for the peer has no early stopping.
    training=Training(batch_size=40, steps=1000, epochs=100, patience=100, hidden_units=[64, 32], seed=1),
)
