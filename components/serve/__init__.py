"""Model server: the Vertex AI custom-container contract and TensorFlow Serving's REST API."""
