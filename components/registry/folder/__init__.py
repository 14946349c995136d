"""Model registry in a folder: versions and aliases."""
