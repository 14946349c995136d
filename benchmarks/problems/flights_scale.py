"""The flights as benchmarks/scale.py has them: those of flights_score.py, with a gate that a trained model passes."""

import dataclasses

from flights_score import problem as scored

from headrace import Gate, Training

problem = dataclasses.replace(
    scored,
    # Predicting the mean is off by 733 miles.
    gate=Gate(metric="root_mean_squared_error", at_most=500.0),
    training=Training(epochs=1, batch_size=1024, hidden_units=[64, 32], seed=1),
)
