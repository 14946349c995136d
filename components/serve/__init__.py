"""The online server: the Vertex custom-container contract and TensorFlow Serving's REST predict."""
