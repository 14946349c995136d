"""Deployment of a Model to a KServe InferenceService."""
