"""Hyperparameter tuning as a job of Vertex AI."""
