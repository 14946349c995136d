"""Protocols of the server: from the bytes of a request to rows, and from predictions to the bytes of a response."""
