"""Time in the air of flights from New York, trained again every day."""

from headrace import Categorical, Gate, Monitor, Numeric, Problem, Training

problem = Problem(
    name="flights",
    key="flight",
    label=Numeric("air_time", minimum=1, maximum=1000),
    features=[
        Numeric("distance", minimum=1, maximum=6000),
        Categorical("hour"),
        Categorical("origin"),
        Categorical("dest", embedding=4),
        Categorical("carrier"),
    ],
    # A day of which more than 5 % of the rows break a rule is quarantined whole.
    quarantine_budget=0.05,
    # Predicting the mean for everyone is off by some 94 minutes.
    gate=Gate(metric="root_mean_squared_error", at_most=60.0),
    # Days differ by less than 0.02 of each other.
    monitor=Monitor(drift=0.05, unknown=0.1),
    training=Training(batch_size=256, epochs=10, learning_rate=0.003, hidden_units=[32], seed=1),
)
