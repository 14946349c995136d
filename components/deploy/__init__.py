"""Deployment of a Model: to a local endpoint, to KServe, or to a Vertex AI endpoint."""
