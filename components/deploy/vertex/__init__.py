"""Deployment of a Model to a Vertex AI endpoint."""
