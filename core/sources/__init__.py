"""Sources of rows: CSV, JSON lines, Avro, Parquet, BigQuery and TFRecord as Arrow record batches."""
