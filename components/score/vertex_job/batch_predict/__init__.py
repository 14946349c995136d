"""The batch prediction job as a task of a Vertex pipeline."""
