"""What components share; it knows no component and no pipeline."""
