"""Models of the user's own: what `build_model` returns, called, checked and understood."""
