"""A run that is stopped, and woken after a newer run promoted its version, changes nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.ledgers import arrival, claimed
from support.registered_models import make_model

from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.state import EndpointState
from headrace.components.registry.folder.registry import Registry
from headrace.core.ledger.claim import Claim
from headrace.core.ledger.ledger import Ledger
from headrace.core.ledger.retries import Retries
from headrace.core.ledger.state import Overtaken

NOW = datetime(2026, 2, 1, tzinfo=UTC)

# The process stops itself at a moment of its change: before it reads, when it has read and checked its claim, or when
# it is about to write.
_ZOMBIE = """
    import json, os, signal, sys
    from headrace.core.errors import HeadraceError
    from headrace.core.ledger.claim import Claim
    from headrace.core.storage import compare_and_set
    from headrace.components.deploy.local import endpoint
    from headrace.components.registry.folder.registry import Registry
    from headrace.components.registry.state import Origin

    claim, moment, effect = Claim.from_json(json.loads(sys.argv[1])), sys.argv[2], sys.argv[3]

    def stopping(call):
        def stopped(*arguments):
            os.kill(os.getpid(), signal.SIGSTOP)
            return call(*arguments)
        return stopped

    if moment == "before writing":
        compare_and_set._write = stopping(compare_and_set._write)
    if moment == "before checking":
        Claim.check = stopping(Claim.check)
    if moment == "before all":
        os.kill(os.getpid(), signal.SIGSTOP)
    try:
        if effect == "registry":
            Registry(sys.argv[4], claim=claim).promote("v1")
        else:
            folder = endpoint.EndpointFolder(sys.argv[5], claim)
            state = folder.existing()
            folder.write(state.marked_bad("v9", Origin("", "")), state)
    except HeadraceError as error:
        print(type(error).__name__)
        sys.exit(error.exit_status)
    print("changed")
"""


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    made = Registry(str(tmp_path / "registry"))
    for version in ("v0", "v1", "v2"):
        made.register(make_model(tmp_path / version, version))
    made.promote("v0")
    return made


def _stopped(claim: Claim, moment: str, effect: str, *arguments: str) -> subprocess.Popen[str]:
    """The process, stopped at a moment of its change."""
    script = textwrap.dedent(_ZOMBIE)
    command = [sys.executable, "-c", script, json.dumps(claim.to_json()), moment, effect, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), process.communicate()
    return process


def _woken(process: subprocess.Popen[str]) -> str:
    """What a woken process came to; it may stop itself once more."""
    while True:
        process.send_signal(signal.SIGCONT)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            process.returncode = os.waitstatus_to_exitcode(status)
            assert process.stdout is not None
            assert process.stderr is not None
            with process.stdout as output, process.stderr:
                return output.read().strip()


def _newer(claim: Claim, number: int) -> Claim:
    """A newer run, whose older one the platform reports as gone."""
    Ledger(claim.ledger).change(lambda state: state.failed(claim.run_id, "gone", NOW, Retries()))
    return claimed(claim.ledger, [arrival(number)], "newer")


MOMENTS = ("before all", "before checking", "before writing")


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_registry(registry: Registry, tmp_path: Path, moment: str) -> None:
    older = claimed(str(tmp_path / "ledger"), [arrival(0)], "older")
    process = _stopped(older, moment, "registry", registry.folder)
    newer = _newer(older, 0)
    Registry(registry.folder, claim=newer).promote("v2")
    before = (tmp_path / "registry" / "registry.json").read_bytes()
    assert _woken(process) == "Overtaken"
    assert process.returncode == Overtaken.exit_status
    assert (tmp_path / "registry" / "registry.json").read_bytes() == before


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_endpoint(registry: Registry, tmp_path: Path, moment: str) -> None:
    folder = EndpointFolder(str(tmp_path / "endpoint"))
    folder.write(EndpointState("days", "v0", None), None)
    older = claimed(str(tmp_path / "ledger"), [arrival(0)], "older")
    process = _stopped(older, moment, "endpoint", registry.folder, folder.uri)
    newer = EndpointFolder(folder.uri, _newer(older, 0))
    state = newer.existing()
    newer.write(EndpointState("days", "v2", "v0"), state)
    assert _woken(process) in ("Overtaken", "PlatformError")
    assert folder.existing().live == "v2"
    assert not folder.existing().bad


def test_without_a_newer_run_the_woken_one_makes_its_change(registry: Registry, tmp_path: Path) -> None:
    claim = claimed(str(tmp_path / "ledger"), [arrival(0)], "older")
    process = _stopped(claim, "before writing", "registry", registry.folder)
    assert _woken(process) == "changed"
    assert registry.aliases()["champion"] == "v1"
