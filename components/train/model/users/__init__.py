"""Users' models: calls `build_model` and checks the model that it returns."""
