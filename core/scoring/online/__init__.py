"""Online scoring: a loaded model from numpy columns to outputs and faults, its switching, and its golden check."""
