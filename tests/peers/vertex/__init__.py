"""Vertex AI on this machine: its REST interface, built of the service's own messages, with state and operations."""
