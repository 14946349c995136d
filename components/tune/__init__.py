"""Hyperparameter search: Examples to the Model of the trial with the minimum eval loss."""
