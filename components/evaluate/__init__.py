"""Evaluation: computes metrics with confidence intervals, slices, curves and a blessing from a Model and Examples."""
