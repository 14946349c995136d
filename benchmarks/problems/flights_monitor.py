"""The flights with twelve features, as benchmarks/monitor.py monitors them."""

from headrace import Categorical, Monitor, Numeric, Problem

problem = Problem(
    name="flights",
    key="key",
    label=Numeric("late"),
    features=[
        Numeric("month", minimum=1, maximum=12),
        Numeric("day", minimum=1, maximum=31),
        Numeric("hour", minimum=0, maximum=24),
        Numeric("dep_delay", minimum=-120, maximum=2000, optional=True),
        Numeric("arr_delay", minimum=-120, maximum=2000, optional=True),
        Numeric("air_time", minimum=1, maximum=1500, optional=True),
        Numeric("distance", minimum=1, maximum=6000),
        Numeric("speed", minimum=1, maximum=1000, optional=True),
        Categorical("carrier"),
        Categorical("origin", vocabulary=["EWR", "JFK", "LGA"]),
        Categorical("dest"),
        Categorical("tailnum", optional=True),
    ],
    monitor=Monitor(drift=0.05),
)
