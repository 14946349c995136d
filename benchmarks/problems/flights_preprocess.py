"""The flights as benchmarks/preprocess.py has them: 10 features, a label and a key."""

from headrace import Categorical, Numeric, Problem

problem = Problem(
    name="flights",
    key="key",
    label=Numeric("distance", minimum=1, maximum=6000),
    features=[
        Numeric("month", minimum=1, maximum=12),
        Numeric("day", minimum=1, maximum=31),
        Numeric("hour", minimum=0, maximum=24),
        Numeric("dep_delay", minimum=-120, maximum=2000, optional=True),
        Numeric("arr_delay", minimum=-120, maximum=2000, optional=True),
        Numeric("air_time", minimum=1, maximum=1500, optional=True),
        Categorical("carrier"),
        Categorical("origin", vocabulary=["EWR", "JFK", "LGA"]),
        Categorical("dest"),
        Categorical("tailnum", optional=True),
    ],
)
