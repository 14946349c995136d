"""JSON of requests and responses: rows to columns of features, predictions to rows, and refusals."""
