"""Model and rows to Predictions: in batches, at the speed of the model."""
