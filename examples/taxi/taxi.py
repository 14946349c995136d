"""Will a taxi passenger of Chicago tip more than 20 %? The table of TFX's example, solved with its raw columns.

Label, hour and all else that is computed from the columns is declared once, below `derive`. Preprocess and the exported
model compute it alike: the endpoint is asked with the columns of the table.
"""

from headrace import Categorical, Crossed, Gate, Numeric, Problem, Training
from headrace.expressions import col, haversine, hour, log1p, timestamp, weekday

START = timestamp("trip_start_timestamp", unit="s")

problem = Problem(
    name="taxi",
    key="unique_key",
    label=Categorical("big_tip", vocabulary=["false", "true"]),
    features=[
        Categorical("payment_type"),
        Categorical("company", optional=True),
        Categorical("hour"),
        Categorical("weekday"),
        Numeric("log_fare"),
        Numeric("log_miles"),
        Numeric("km", optional=True),
        Numeric("fare_per_km", optional=True),
        Crossed("payment_type", "hour", hash_buckets=200),
    ],
    derive={
        "big_tip": col("tips") > 0.2 * col("fare"),
        "hour": hour(START, zone="America/Chicago"),
        "weekday": weekday(START, zone="America/Chicago"),
        "log_fare": log1p("fare"),
        "log_miles": log1p("trip_miles"),
        "km": haversine("pickup_latitude", "pickup_longitude", "dropoff_latitude", "dropoff_longitude"),
        # From one place to the same place there is no distance; the quotient is then missing.
        "fare_per_km": (col("fare") / col("km")).clip(0, 100),
    },
    training=Training(batch_size=128, learning_rate=0.01, epochs=5),
    gate=Gate("accuracy", at_least=0.9),
)
