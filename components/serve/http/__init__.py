"""HTTP of the server: bounded connections and an orderly shutdown."""
