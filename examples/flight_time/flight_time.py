"""Time in the air of flights from New York, from what is known before departure."""

from headrace import Categorical, Crossed, Gate, Numeric, Problem, Training

problem = Problem(
    name="flight-time",
    key="flight",
    # Cancelled and diverted flights, 2.8 % of all, have no air time: they go to quarantine.
    label=Numeric("air_time", minimum=1, maximum=1000),
    features=[
        Numeric("distance", minimum=1, maximum=6000),
        Categorical("hour", embedding=4),
        Categorical("weekday"),
        # The wind of the day: what a flight of that day took, others will take.
        Categorical("day_of_year", embedding=16),
        Categorical("origin"),
        Categorical("dest", embedding=8),
        Categorical("carrier", embedding=4),
        Crossed("origin", "dest", hash_buckets=1024, embedding=8),
        Crossed("hour", "weekday", hash_buckets=512, embedding=4),
    ],
    # Predicting the mean for everyone is off by 94 minutes (root mean squared).
    # Not by carrier: one of them only flies to Honolulu, ten hours away, where the same share is many more minutes.
    gate=Gate(metric="root_mean_squared_error", at_most=8.0, slices=["origin"]),
    training=Training(batch_size=1024, epochs=30, learning_rate=0.001, hidden_units=[256, 128], patience=5, seed=1),
)
