"""Components: what runs inside a container. Importing this package imports nothing heavy."""
