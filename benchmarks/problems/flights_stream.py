"""The flights as benchmarks/stream_kafka.py scores them: those of flights_score.py, and a SavedModel of 1 MB."""

from headrace import Categorical, Crossed, Numeric, Problem, Training

problem = Problem(
    name="flights",
    key="key",
    label=Numeric("distance", minimum=1, maximum=6000),
    features=[
        Numeric("month", minimum=1, maximum=12),
        Numeric("day", minimum=1, maximum=31),
        Numeric("hour", minimum=0, maximum=24, buckets=[6, 9, 12, 15, 18, 21]),
        Numeric("dep_delay", minimum=-120, maximum=2000, optional=True),
        Numeric("arr_delay", minimum=-120, maximum=2000, optional=True),
        Numeric("air_time", minimum=1, maximum=1500, optional=True),
        Categorical("carrier"),
        Categorical("origin", vocabulary=["EWR", "JFK", "LGA"]),
        # One-hot over thousands of values would make the model, and nothing else, what is measured.
        Categorical("dest", embedding=4),
        Categorical("tailnum", optional=True, embedding=96),
        Crossed("carrier", "origin", hash_buckets=64),
    ],
    training=Training(epochs=1),
)
