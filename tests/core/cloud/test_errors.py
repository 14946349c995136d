"""Errors of Google's clients and of the network: whose they are, and the command that fixes them."""

from __future__ import annotations

import pytest
import requests.exceptions
from google.api_core import exceptions as api
from google.auth import exceptions as auth

from headrace.core.cloud.errors import translate_errors, translated
from headrace.core.errors import PlatformError, UsageError

_PRINCIPAL = ", PRINCIPAL being user:EMAIL or serviceAccount:EMAIL, or use another account or project"


@pytest.mark.parametrize(
    ("text", "where", "roles", "command"),
    [
        (
            "Permission 'storage.objects.get' denied on resource",
            "gs://a-bucket/rows.csv",
            ("roles/storage.objectUser",),
            "storage buckets add-iam-policy-binding gs://a-bucket --member=PRINCIPAL --role=roles/storage.objectUser",
        ),
        (
            "Access Denied",
            "bigquery://a-project.set.table",
            ("r/a", "r/b"),
            "projects add-iam-policy-binding a-project --member=PRINCIPAL --role=r/a (and again with --role=r/b)",
        ),
        (
            "no",
            "projects/a-project/topics/t",
            ("roles/pubsub.publisher",),
            "projects add-iam-policy-binding a-project --member=PRINCIPAL --role=roles/pubsub.publisher",
        ),
        (
            "denied in project 12345",
            "a run",
            ("roles/aiplatform.user",),
            "projects add-iam-policy-binding 12345 --member=PRINCIPAL --role=roles/aiplatform.user",
        ),
        (
            "no",
            "a run",
            ("roles/aiplatform.user",),
            "projects add-iam-policy-binding PROJECT --member=PRINCIPAL --role=roles/aiplatform.user",
        ),
    ],
)
def test_a_denied_access_names_the_command_that_grants_the_role(
    text: str, where: str, roles: tuple[str, ...], command: str
) -> None:
    for kind in (api.Forbidden, api.PermissionDenied, api.Unauthenticated):
        with pytest.raises(UsageError) as caught, translate_errors("A service", where, *roles):
            raise kind(text)
        missing = ": the permission storage.objects.get is missing" if "storage.objects" in text else ""
        assert caught.value.what == f"access is denied{missing}"
        assert caught.value.fix == f"Run: gcloud {command}{_PRINCIPAL}"


def test_the_account_and_the_project_of_the_request_are_named_where_they_are_known() -> None:
    error = translated(api.Forbidden("no"), "Vertex AI", "a run", "r", project="mine", member="user:a@b.c")
    assert error.fix == (
        "Run: gcloud projects add-iam-policy-binding mine --member=user:a@b.c --role=r,"
        " or use another account or project"
    )


@pytest.mark.parametrize(
    ("error", "kind", "what"),
    [
        (api.BadRequest("x"), UsageError, "A service rejected the request"),
        (api.TooManyRequests("x"), PlatformError, "A service failed or did not respond"),
        (api.ServiceUnavailable("x"), PlatformError, "A service failed or did not respond"),
        (api.RetryError("x", None), PlatformError, "A service failed or did not respond"),
        (requests.exceptions.ConnectionError("x"), PlatformError, "A service failed or did not respond"),
        (auth.TransportError("x"), PlatformError, "A service failed or did not respond"),
        (auth.RefreshError("x"), UsageError, "no valid credentials for Google Cloud were found"),
        (api.Forbidden("SERVICE_DISABLED"), UsageError, "the API SERVICE.googleapis.com is not enabled"),
    ],
)
def test_whose_error_it_is(error: Exception, kind: type[Exception], what: str) -> None:
    with pytest.raises(kind) as caught, translate_errors("A service", "there", "roles/viewer"):
        raise error
    assert caught.value.what == what
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [api.NotFound("x"), ValueError("x"), FileNotFoundError("x")])
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, translate_errors("A service", "there", "roles/viewer"):
        raise error
    assert caught.value is error
