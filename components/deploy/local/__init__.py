"""Deployment of a Model to an endpoint on this machine."""
