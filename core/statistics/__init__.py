"""Statistics of columns: measured in one pass, merged from sketches, compared for drift."""
