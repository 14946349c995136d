"""Evaluate: a Model and Examples in; metrics with confidence intervals, slices, curves and a blessing out."""
