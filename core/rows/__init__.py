"""Row rules: validation and splits."""
