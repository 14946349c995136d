"""Version names: valid as names of folders, in URLs and as labels."""

from __future__ import annotations

import re

from headrace.core.errors import DataError, UsageError

# A leading `.` would hide the folder, or name its parent.
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


def check_version(version: object, where: str, kind: type[DataError] | type[UsageError] = UsageError) -> str:
    """Returns `version` if it can be the name of a folder and a part of a URL.

    Args:
        version: 1 to 64 letters, digits, ., - and _, starting with a letter or a digit.
        where: origin of the name, for an error.
        kind: class of the error.

    Raises:
        DataError or UsageError, by `kind`: the version is not valid.
    """
    if not isinstance(version, str) or not _VERSION.match(version):
        raise kind(
            "the model version is not valid",
            where=where,
            expected="1 to 64 letters, digits, ., - and _, starting with a letter or a digit",
            received=repr(version),
        )
    return version
