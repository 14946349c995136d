"""Stand-in for the table of TFX's Chicago taxi example: the same columns, made by a rule with noise.

The columns are those of the public data set as TFX's example has them, and its `unique_key`. As there, hour, month and
day are of Chicago's time, the timestamp is in seconds since 1970, cash trips show no tip, and places, companies and
times are missing in some rows.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

COMPANIES = ("Taxi Affiliation Services", "Dispatch Taxi Affiliation", "Blue Ribbon Taxi", "Choice Taxi", "KOAM Taxi")
# By the number of the community area: near the Loop, further out, the airports.
AREAS = {
    8: (41.899, -87.626),
    32: (41.878, -87.627),
    28: (41.874, -87.663),
    6: (41.944, -87.655),
    76: (41.980, -87.913),
}
_CHICAGO = ZoneInfo("America/Chicago")
_START = int(datetime(2013, 1, 1, tzinfo=UTC).timestamp())
_QUARTER = 900
_YEARS = 3


def taxi_table(rows: int = 6000) -> pa.Table:
    """So many trips, always the same ones."""
    random = np.random.default_rng(20130101)
    starts = _START + random.integers(0, _YEARS * 365 * 86_400 // _QUARTER, rows) * _QUARTER
    local = [datetime.fromtimestamp(int(start), _CHICAGO) for start in starts]
    hours = np.array([time.hour for time in local])
    areas = np.array(list(AREAS))
    pickup, dropoff = random.choice(areas, rows), random.choice(areas, rows)
    places = {name: np.array([AREAS[int(area)] for area in chosen]) for name, chosen in (("p", pickup), ("d", dropoff))}
    miles = 70 * np.abs(places["p"] - places["d"]).sum(axis=1) * random.uniform(0.9, 1.3, rows) + 0.5
    fare = np.round(3.25 + 1.8 * miles + random.exponential(1.0, rows), 2)
    card = random.random(rows) < 0.42
    # By night passengers choose the smaller of the buttons.
    night = (hours >= 22) | (hours < 5)
    generous = np.where(night, 0.06, 0.93)
    share = np.where(random.random(rows) < generous, random.uniform(0.205, 0.32, rows), random.uniform(0, 0.195, rows))
    tips = np.where(card, np.round(fare * share, 2), 0.0)

    def but_for(fraction: float, values: object, kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind, mask=random.random(rows) < fraction)

    return pa.table(
        {
            "unique_key": [f"trip-{row:06d}" for row in range(rows)],
            "pickup_community_area": but_for(0.02, pickup, pa.int64()),
            "fare": fare,
            "trip_start_month": [time.month for time in local],
            "trip_start_hour": hours,
            "trip_start_day": [time.isoweekday() % 7 + 1 for time in local],
            "trip_start_timestamp": starts,
            "pickup_latitude": but_for(0.02, places["p"][:, 0], pa.float64()),
            "pickup_longitude": but_for(0.02, places["p"][:, 1], pa.float64()),
            "dropoff_latitude": but_for(0.03, places["d"][:, 0], pa.float64()),
            "dropoff_longitude": but_for(0.03, places["d"][:, 1], pa.float64()),
            "trip_miles": np.round(miles, 1),
            "pickup_census_tract": pa.nulls(rows, pa.int64()),
            "dropoff_census_tract": but_for(0.3, 17031000000 + dropoff * 100, pa.int64()),
            "payment_type": np.where(card, "Credit Card", "Cash"),
            "company": but_for(0.35, random.choice(np.array(COMPANIES), rows), pa.string()),
            "trip_seconds": but_for(0.01, (miles * 210).astype(np.int64) // 60 * 60, pa.int64()),
            "dropoff_community_area": but_for(0.03, dropoff, pa.int64()),
            "tips": tips,
        }
    )


def write_taxi(path: Path, rows: int = 6000) -> Path:
    """The table as CSV."""
    pacsv.write_csv(taxi_table(rows), path)
    return path
