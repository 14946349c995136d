"""Batch scoring with the model inside the process or the Beam pipeline."""
