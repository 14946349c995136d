"""The folder registry: versions of a model, and aliases for them."""
