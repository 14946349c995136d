"""Vertex AI Model Registry."""
