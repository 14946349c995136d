"""HTTP service that triggers dynamic training, for Cloud Run, App Engine and a machine of your own."""
