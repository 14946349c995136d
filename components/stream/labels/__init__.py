"""Labels of a stream: joined with predictions by key, as a metric over time whose decay is an alarm event."""
