"""Object stores: Cloud Storage (gs://), and Amazon S3 or a store of its protocol such as MinIO (s3://)."""

from headrace.core.storage.remote.open import conditional_writes_of, store_of
from headrace.core.storage.remote.store import Store, StoredObject, is_remote

__all__ = ["Store", "StoredObject", "conditional_writes_of", "is_remote", "store_of"]
