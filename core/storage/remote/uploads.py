"""Uploads in progress: folders of an object store that hold the files of an upload until all of them are there.

A process that is killed leaves its folder. The name of the folder has the process that writes it, so that the next
upload to the same place removes it at once on the same machine, and after a day on any other.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path

from headrace.core.storage.remote.store import Store, StoredObject

# Age, by the store's clock, from which an upload of another machine is given up: its newest file has that age.
_GIVEN_UP_S = 86_400.0
_NAME = re.compile(r"(.+)\.([0-9a-f]{16})-(\d+)-(\d+)-[0-9a-f]{16}\.uploading/")


def begin(prefix: str) -> str:
    """A new name for the files of an upload to `prefix`, both of which end in a slash."""
    process = f"{visible_processes()}-{os.getpid()}-{_began(os.getpid())}"
    return f"{prefix.rstrip('/')}.{process}-{secrets.token_hex(8)}.uploading/"


def remove_abandoned(store: Store, uri: str, prefix: str, own: str) -> None:
    """Removes the files of uploads to `prefix` whose process has died, or has written nothing for a day.

    Args:
        store: that `uri` is in.
        uri: of the folder that is uploaded.
        prefix: the object names below `uri`.
        own: of `begin`; its files are there, and have the present time by the store's clock.
    """
    uploads: dict[str, list[StoredObject]] = {}
    for found in store.list_objects(uri, f"{prefix.rstrip('/')}."):
        name = _NAME.match(found.name)
        if name is not None and f"{name[1]}/" == prefix:
            uploads.setdefault(name[0], []).append(found)
    now = max((found.created for found in uploads.get(own, ())), default=0.0)
    for upload, files in uploads.items():
        newest = max(found.created for found in files)
        if upload != own and (_is_dead(upload) or (newest and now - newest > _GIVEN_UP_S)):
            store.remove([found.uri for found in files])


def _is_dead(upload: str) -> bool:
    """Whether the process of an upload was one of this machine, and has ended."""
    name = _NAME.match(upload)
    return name is not None and name[2] == visible_processes() and _began(int(name[3])) != name[4]


def _began(process: int) -> str:
    """When a process of this machine began, in ticks since the machine did; "0" where it is not there."""
    try:
        # The name of the program, in parentheses, may have spaces.
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "0"


def visible_processes() -> str:
    """Stands for the processes that this one can see: a machine since its start, or a container of it.

    Where the system is not Linux, each call has another result, so that no process is taken for one of them.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        space = os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116
    except OSError:
        # Not Linux: only the age decides.
        return secrets.token_hex(8)
    return hashlib.sha256(f"{boot} {space}".encode()).hexdigest()[:16]
