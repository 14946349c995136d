"""Labels of a stream: joined with predictions by key, and measured by window as metric events and alarms."""
