"""Cloud Build on this machine: substitutions filled in, and the scripts of steps run in the order of the file."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
BUILT_IN = {
    "PROJECT_ID": "demo-project",
    "BUILD_ID": "01234567-89ab-cdef-0123-456789abcdef",
    "COMMIT_SHA": COMMIT,
    "TAG_NAME": "",
}
_NAME = re.compile(r"\$\{([A-Z_][A-Z0-9_]*)\}|\$([A-Z_][A-Z0-9_]*)")


def load(path: Path) -> dict[str, Any]:
    """A build's or a trigger's file."""
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


def substituted(text: str, values: Mapping[str, str]) -> str:
    """A field with the values of its ${NAME} and $NAME; a name that there is not is a KeyError."""
    return _NAME.sub(lambda found: values[found[1] or found[2]], text)


def values_of(build: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    """The substitutions of a build: the built-in ones, its own, and those that are given; they may name one another."""
    values = {**BUILT_IN, **build["substitutions"], **given}
    for _ in values:
        values = {name: substituted(value, values) for name, value in values.items()}
    return values


@dataclass
class Workspace:
    """A copy of what steps read, and the programs that they find.

    Attributes:
        folder: where steps run.
        bin: programs that come first on PATH.
        environment: variables beside the substitutions.
        outputs: what each step that ran printed, by its id.
    """

    folder: Path
    bin: Path
    environment: dict[str, str]
    outputs: dict[str, str] = field(default_factory=dict)

    def run(self, file: str, given: Mapping[str, str], *, only: str = "") -> int:
        """Runs a build's steps until one fails.

        Args:
            file: the build's file in the workspace.
            given: substitutions.
            only: one step's id; all of them if "".

        Returns:
            The exit status of the last step that ran.
        """
        build = load(self.folder / file)
        values = values_of(build, given)
        ended: set[str] = set()
        for step in build["steps"]:
            assert set(step.get("waitFor", [])) <= ended, f"{step['id']} waits for what comes later"
            ended.add(step["id"])
            if only in ("", step["id"]):
                assert " " not in substituted(step["name"], values)
                status = self._step(step, values)
                if status:
                    return status
        return 0

    def _step(self, step: Mapping[str, Any], values: Mapping[str, str]) -> int:
        script = self.folder.parent / f"step-{step['id']}"
        script.write_text(step["script"])
        script.chmod(0o755)
        paths = [str(self.bin), os.environ["PATH"]]
        done = subprocess.run(
            [str(script)],
            cwd=self.folder,
            env={**os.environ, **self.environment, **values, "PATH": os.pathsep.join(paths)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.outputs[step["id"]] = done.stdout
        return done.returncode

    def program(self, name: str, text: str) -> None:
        """Puts a program on PATH."""
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)
