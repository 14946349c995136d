"""Deployment of a Model to a local endpoint that can be rolled back."""
