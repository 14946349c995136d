"""Vertex AI Model Monitoring, version 2, configured like `headrace monitor`."""
