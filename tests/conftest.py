"""The peers that tests run against, for whichever test asks for one."""

from __future__ import annotations

from peers.bigquery import bigquery, bigquery_server, make_table
from peers.cloud_storage import bucket, cloud_storage, put

__all__ = ["bigquery", "bigquery_server", "bucket", "cloud_storage", "make_table", "put"]
