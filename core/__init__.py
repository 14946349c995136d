"""Core library: what components share. It imports no component and no pipeline."""
