"""Pub/Sub names, checks before a job starts, and the translation of the service's errors.

PUBSUB_EMULATOR_HOST, which Google's clients read, names another server, which needs no credentials.
"""

from __future__ import annotations

import re

from google.api_core import exceptions as api

from headrace.core.cloud import errors
from headrace.core.errors import UsageError

_SUBSCRIPTION = re.compile(r"projects/[a-z][a-z0-9.:-]{4,98}[a-z0-9]/subscriptions/[A-Za-z][\w.~+%-]{2,254}\Z")
_TOPIC = re.compile(r"projects/[a-z][a-z0-9.:-]{4,98}[a-z0-9]/topics/[A-Za-z][\w.~+%-]{2,254}\Z")
_ROLES = ("roles/pubsub.subscriber", "roles/pubsub.publisher", "roles/pubsub.viewer")
_TIMEOUT_S = 30.0


def check_subscription(name: str, option: str = "--subscription") -> None:
    """Checks the form of a subscription's name.

    Raises:
        UsageError: it is not such a name.
    """
    _check(_SUBSCRIPTION, name, option, "projects/PROJECT/subscriptions/NAME, with a project's ID of six or more")


def check_topic(name: str, option: str = "--topic") -> None:
    """Checks the form of a topic's name.

    Raises:
        UsageError: it is not such a name.
    """
    _check(_TOPIC, name, option, "projects/PROJECT/topics/NAME, with a project's ID of six or more characters")


def require_subscription(name: str, option: str = "--subscription") -> None:
    """Checks that a subscription exists.

    Raises:
        UsageError: it does not, or access is denied.
        PlatformError: the service failed.
    """
    from google.cloud import pubsub_v1 as pubsub  # type: ignore[attr-defined]

    with pubsub.SubscriberClient() as client, errors.translate_errors("Pub/Sub", name, *_ROLES):
        try:
            client.get_subscription(subscription=name, timeout=_TIMEOUT_S)
        except api.NotFound as error:
            short = name.rpartition("/")[2]
            raise UsageError(
                "the subscription does not exist",
                where=option,
                received=name,
                fix=f"Create it: gcloud pubsub subscriptions create {short} --topic=TOPIC --project={_project(name)}",
            ) from error


def require_topic(name: str, option: str = "--topic") -> None:
    """Checks that a topic exists; errors as of `require_subscription`."""
    from google.cloud import pubsub_v1 as pubsub  # type: ignore[attr-defined]

    client = pubsub.PublisherClient()
    try:
        with errors.translate_errors("Pub/Sub", name, *_ROLES):
            client.get_topic(topic=name, timeout=_TIMEOUT_S)
    except api.NotFound as error:
        raise UsageError(
            "the topic does not exist",
            where=option,
            received=name,
            fix=f"Create it: gcloud pubsub topics create {name.rpartition('/')[2]} --project={_project(name)}",
        ) from error
    finally:
        client.transport.close()


def _project(name: str) -> str:
    return name.split("/")[1]


def _check(form: re.Pattern[str], name: str, option: str, expected: str) -> None:
    if not form.match(name):
        raise UsageError("the name is not valid", where=option, expected=expected, received=repr(name))
