"""Systemd unit of a local endpoint: starts it after a restart of the machine."""

from __future__ import annotations

import sys

from headrace.components.deploy.local.endpoint import EndpointFolder

_UNIT = """\
[Unit]
Description=headrace endpoint {name}
After=network.target

[Service]
# The router and the versions outlive the command that starts them.
Type=oneshot
RemainAfterExit=yes
ExecStart={command} start {folder}
ExecStop={command} stop {folder}
Restart=on-failure
RestartSec=10
TimeoutStopSec=300

[Install]
WantedBy=default.target
"""


def unit(endpoint: str) -> str:
    """The text of a systemd unit, for a user or the system, with absolute paths of this machine.

    Args:
        endpoint: the endpoint's folder.

    Raises:
        UsageError: the endpoint does not exist.
    """
    folder = EndpointFolder(endpoint)
    name = folder.existing().name
    command = f"{_quoted(sys.executable)} -P -m headrace endpoint"
    return _UNIT.format(name=name, command=command, folder=_quoted(str(folder.path)))


def _quoted(argument: str) -> str:
    """An argument in the syntax of systemd.service(5): quoted, with specifiers and variables escaped."""
    for special, written in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$"), ("\n", "\\n")):
        argument = argument.replace(special, written)
    return f'"{argument}"'
