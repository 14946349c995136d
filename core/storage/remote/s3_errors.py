"""S3 errors: translates errors of the service, of the client libraries and of the network to headrace's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import aiohttp
from botocore import exceptions as botocore
from s3fs.utils import FileExpired

from headrace.core.errors import PlatformError, UsageError

_PERMISSIONS = "s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket on the bucket"
_CREDENTIALS = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the pod or the machine a role; "
    "on Kubeflow: `secrets` of [kubeflow]"
)
_ENDPOINT = "Check AWS_ENDPOINT_URL, if the store is not Amazon's"
_NOT_FOUND = frozenset({"404", "NoSuchKey", "NoSuchVersion", "NotFound"})
_NO_CREDENTIALS = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired", "401"}
)
_OTHER_REGION = frozenset(
    {"301", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)
_TRANSIENT = frozenset(
    {
        "429",
        "BandwidthLimitExceeded",
        "ConditionalRequestConflict",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "SlowDownRead",
        "SlowDownWrite",
        "Throttling",
        "TooManyRequests",
        "XAmzContentSHA256Mismatch",
        "BadDigest",
    }
)


class ConditionFailed(UsageError):
    """The object was not as a conditional request expected, or did not exist."""


class ConditionConflict(PlatformError):
    """Another request on the same object was in progress; nothing was written."""


@contextmanager
def translate_errors(uri: str) -> Iterator[None]:
    """Translates errors of the service and of the network.

    Raises:
        FileNotFoundError: the bucket exists, or is not known, but the object does not.
        ConditionFailed, ConditionConflict: of a conditional request.
        UsageError: the bucket does not exist, no credentials, access denied, or an invalid request.
        PlatformError: the service failed, or did not respond in time, or the object changed while it was read.
    """
    try:
        yield
    except FileExpired as error:
        raise changed_while_read(uri) from error
    except (
        botocore.NoCredentialsError,
        botocore.PartialCredentialsError,
        botocore.CredentialRetrievalError,
        botocore.TokenRetrievalError,
        botocore.SSOError,
        botocore.ProfileNotFound,
    ) as error:
        raise UsageError(
            "no valid credentials for S3 were found", where=uri, received=_first_line(error), fix=_CREDENTIALS
        ) from error
    except (botocore.ParamValidationError, botocore.InvalidConfigError, botocore.ConfigParseError) as error:
        raise UsageError("the request to S3 is not valid", where=uri, received=_first_line(error)) from error
    except (botocore.BotoCoreError, aiohttp.ClientError, TimeoutError) as error:
        raise PlatformError(
            "S3 failed or did not respond",
            where=uri,
            received=_first_line(error),
            fix=_ENDPOINT,
        ) from error
    except (botocore.ClientError, OSError) as error:
        # s3fs raises OSError of its own choice, from the client's error; others are of this machine's disk.
        cause = error if isinstance(error, botocore.ClientError) else error.__cause__
        if not isinstance(cause, botocore.ClientError):
            raise
        described = cause.response.get("Error", {})
        status = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if described.get("Code") in _NOT_FOUND:
            raise not_found(uri) from error
        raise error_of_response(uri, described, status) from error


def not_found(uri: str) -> FileNotFoundError:
    """The error for an object that does not exist."""
    return FileNotFoundError(2, "the object does not exist", uri)


def not_of_a_store(uri: str) -> PlatformError:
    """The error for an answer that no object store gives, such as the page of a web server."""
    return PlatformError(
        "the answer is not one of S3",
        where=uri,
        expected="the ETag of the object",
        received="an answer without it, such as a web page",
        fix="Check AWS_ENDPOINT_URL: it names the API, not the console of the store",
    )


def changed_while_read(uri: str) -> PlatformError:
    """The error for an object that was replaced after it was opened."""
    return PlatformError("the object changed while it was read", where=uri, fix="Try again")


def error_of_response(uri: str, described: Mapping[str, Any], status: int) -> UsageError | PlatformError:
    """The error for an answer of the service.

    Args:
        uri: of the object.
        described: Code and Message of the answer.
        status: of HTTP; 0 where it is not known.
    """
    code = str(described.get("Code", status))
    received = f"{code}: {described.get('Message', '')}".rstrip(": .")
    bucket = uri.removeprefix("s3://").partition("/")[0]
    if code == "NoSuchBucket":
        return UsageError("the bucket does not exist", where=uri, expected="a bucket that exists", received=bucket)
    if code in ("PreconditionFailed", "412"):
        return ConditionFailed("S3 rejected the request", where=uri, received=received)
    if code == "ConditionalRequestConflict":
        return ConditionConflict("another request on the object was in progress", where=uri, received=received)
    if code in _NO_CREDENTIALS or status == 401:
        return UsageError("no valid credentials for S3 were found", where=uri, received=received, fix=_CREDENTIALS)
    if code == "RequestTimeTooSkewed":
        return UsageError("the clock of this machine is wrong", where=uri, received=received, fix="Set the clock")
    if code in _OTHER_REGION:
        return UsageError(
            "the bucket is in another region", where=uri, received=received, fix="Set AWS_REGION to the bucket's region"
        )
    if code == "NotImplemented" or status == 501:
        return UsageError("the store lacks this kind of request", where=uri, received=received, fix="Update the store")
    if code in _TRANSIENT or status == 429 or status >= 500:
        # A store's errors have a code; a number is that of an answer without one, such as a web page.
        fix = _ENDPOINT if code.isdigit() else None
        return PlatformError("S3 failed or did not respond", where=uri, received=received, fix=fix)
    if status == 403 or code in ("AccessDenied", "403", "AllAccessDisabled", "AccountProblem"):
        return UsageError(
            "access is denied",
            where=uri,
            received=received,
            fix=f"Give this account {_PERMISSIONS}; without s3:ListBucket also a missing object is denied",
        )
    return UsageError("S3 rejected the request", where=uri, received=received)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:400].rstrip(".") if lines else type(error).__name__
