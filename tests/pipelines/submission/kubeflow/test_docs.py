"""The commands of docs/kubeflow.md as printed, against a Kubeflow Pipelines: all but its address and the run's id."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from peers.pipeline_platforms import ROOT, Platform, Result, headrace

_ADDRESS = "http://127.0.0.1:8888"
_PAGE = (ROOT / "docs" / "kubeflow.md").read_text()


def printed(command: str) -> list[list[str]]:
    """The page's commands that begin so, as words, without `headrace`."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", _PAGE, re.DOTALL | re.MULTILINE)
    text = "\n".join(block for kind, block in blocks if kind == "").replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in text.splitlines() if line.startswith(f"headrace {command}")]


@pytest.fixture
def here(kubeflow: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """The folder of a reader who has compiled static.yaml."""
    (tmp_path / "static.yaml").write_text(Path(kubeflow.spec).read_text())
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return kubeflow


def run(words: list[str], platform: Platform, run_id: str = "") -> Result:
    assert _ADDRESS in words
    replaced = {_ADDRESS: platform.server.url, "RUN": run_id}
    return headrace(*(replaced.get(word, word) for word in words))


def test_the_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (options,) = re.findall(r"^```toml\n# kubeflow.toml\n(.*?)^```", _PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "kubeflow.toml").write_text(options.replace("sha256:...", f"sha256:{'1' * 64}"))
    monkeypatch.chdir(tmp_path)
    (compiled,) = [headrace(*words) for words in printed("compile")]
    assert (compiled.status, compiled.output.splitlines()[0]) == (0, "static.yaml"), compiled.error
    (checked,) = [headrace(*words) for words in printed("lint")]
    # The table below these commands has the version.
    least = re.search(r"(?:n|N)eeds Kubeflow Pipelines (\S+)", checked.output)
    assert (checked.status, "OK for Kubeflow" in checked.output) == (0, True), checked.error
    assert least is not None
    assert f"| {least[1]} |" in _PAGE


def test_a_run(here: Platform) -> None:
    (submit,) = printed("submit")
    done = run([word for word in submit if word != "--wait"], here)
    assert done.status == 0, done.error
    run_id = done.output.splitlines()[0].split()[0].rstrip(":")
    (status,), (logs,), (cancel,) = (printed(name) for name in ("status", "logs", "cancel"))
    assert run_id in run(status, here).output
    assert run(logs, here, run_id).status == 0
    assert run(cancel, here, run_id).status == 0


def test_a_schedule(here: Platform) -> None:
    (made,) = [run(words, here) for words in printed("schedule set")]
    assert (made.status, made.output) == (0, 'created: natality-weekly: active, "0 3 * * 1" UTC\n'), made.error
    (listed,) = [run(words, here) for words in printed("schedule list")]
    assert listed.output == 'natality-weekly: active, "0 3 * * 1" UTC\n'
    (paused,) = [run(words, here) for words in printed("schedule pause")]
    assert paused.output == "paused: natality-weekly\n"
    (deleted,) = [run(words, here) for words in printed("schedule delete")]
    assert (deleted.status, here.server.recurring_runs) == (0, {})
