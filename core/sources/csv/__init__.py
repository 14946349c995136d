"""CSV: comments, numbers in other notations, and the reader."""
