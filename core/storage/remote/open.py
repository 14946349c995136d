"""Object store of a URI: its module, imported at first use, because the client libraries are slow to import."""

from __future__ import annotations

from headrace.core.errors import UsageError
from headrace.core.storage.remote.store import ConditionalWrites, Store


def store_of(uri: str) -> Store:
    """The store of a URI.

    Raises:
        UsageError: the client library is not installed.
    """
    if uri.startswith("s3://"):
        try:
            from headrace.core.storage.remote import s3
        except ImportError as error:
            raise _missing("s3://", "s3fs", "s3", error) from error
        return s3
    try:
        from headrace.core.storage.remote import gcs
    except ImportError as error:
        raise _missing("gs://", "google-cloud-storage", "beam", error) from error
    return gcs


def conditional_writes_of(uri: str) -> ConditionalWrites:
    """The conditional reads and writes of the store of a URI; errors as of `store_of`."""
    # Refuses a store whose client library is not installed.
    store_of(uri)
    if uri.startswith("s3://"):
        from headrace.core.storage.remote import s3_conditions

        return s3_conditions
    from headrace.core.storage.remote import gcs_generations

    return gcs_generations


def _missing(scheme: str, package: str, extra: str, error: ImportError) -> UsageError:
    return UsageError(
        f"{scheme} requires the package {package}",
        received=str(error),
        fix=f"Run `pip install headrace[{extra}]`",
    )
