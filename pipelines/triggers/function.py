"""Cloud Function of dynamic training: `arrived` is called for each object that is finalized in a bucket.

`headrace trigger function` writes the deployed folder, and prints the commands. On this machine,
`functions-framework --target arrived --source FOLDER/main.py` runs it.
"""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from typing import Any

import functions_framework

from headrace.core.errors import DataError
from headrace.pipelines.dynamic import settings as dynamic
from headrace.pipelines.triggers.storage_event import StorageTrigger, handle

_log = logging.getLogger("headrace.triggers")


@functions_framework.cloud_event
def arrived(event: Any) -> None:
    """Triggers the training if the object completes a span.

    Most errors are raised, so that the event is delivered again for a day, in which somebody can correct an option or
    a permission. Invalid data is logged as an error, and the event is not retried, because it would fail each time.

    Args:
        event: a CloudEvent of Cloud Storage.

    Raises:
        UsageError: an option, the settings or a permission is wrong.
        PlatformError: the service failed.
    """
    options = StorageTrigger.from_environment(os.environ)
    settings = dynamic.read(options.settings)
    try:
        text = handle(options, settings, event["type"], event["id"], event.data, datetime.now(UTC))
    except DataError as error:
        _log.error("%s", error.paragraph)
    else:
        _log.info("%s", text)
