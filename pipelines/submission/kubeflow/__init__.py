"""Client of the Kubeflow Pipelines API."""
