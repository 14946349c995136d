"""Training loop: steps, checkpoints, budgets, callbacks."""
