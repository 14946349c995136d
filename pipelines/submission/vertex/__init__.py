"""Client of Vertex AI Pipelines."""
