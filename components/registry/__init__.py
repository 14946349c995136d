"""Model registry: versions of a model and their aliases, in a folder or in Vertex AI's Model Registry."""
