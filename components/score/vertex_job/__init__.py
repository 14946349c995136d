"""Batch scoring as a batch prediction job of Vertex AI."""
