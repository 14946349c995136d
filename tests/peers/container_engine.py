"""A container engine, and the images that this tree makes, for the tests that run them."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
_NUMBERS = itertools.count(1)


def load_build() -> ModuleType:
    """containers/build.py, which is a script and not a part of the package."""
    name = "headrace_containers_build"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "containers" / "build.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@dataclass(frozen=True)
class Ended:
    """What a container came to."""

    status: int
    stdout: str
    stderr: str


class Engine:
    """The engine's command line, and what tests ask of it."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = list(command)

    def __call__(self, *arguments: str, check: bool = True) -> str:
        """Runs a command of the engine; returns what it prints."""
        ended = subprocess.run([*self.command, *arguments], capture_output=True, text=True, check=False)
        assert ended.returncode == 0 or not check, f"{' '.join(arguments)[:200]}: {ended.stderr[-3000:]}"
        return ended.stdout

    def run(
        self,
        image: str,
        command: Sequence[str] = (),
        *,
        shared: Path | None = None,
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> Ended:
        """Runs a container to its end; `shared` is a folder that it sees under the same path."""
        name = _name()
        # Named, and removed only after its status was read: with --rm some engines lose the status.
        arguments = self._arguments(name, image, command, shared, environment, options)
        try:
            ended = subprocess.run([*self.command, "run", *arguments], capture_output=True, text=True, check=False)
            return Ended(int(self("inspect", "--format", "{{.State.ExitCode}}", name)), ended.stdout, ended.stderr)
        finally:
            self("rm", "--force", name, check=False)

    @contextmanager
    def running(
        self,
        image: str,
        command: Sequence[str] = (),
        *,
        shared: Path | None = None,
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> Iterator[str]:
        """A container that runs meanwhile; gives its name."""
        name = _name()
        try:
            self("run", "--detach", *self._arguments(name, image, command, shared, environment, options))
            yield name
        finally:
            self("rm", "--force", name, check=False)

    def _arguments(
        self,
        name: str,
        image: str,
        command: Sequence[str],
        shared: Path | None,
        environment: Mapping[str, str] | None,
        options: Sequence[str],
    ) -> list[str]:
        mounts = ["--volume", f"{shared}:{shared}"] if shared is not None else []
        told = [word for key, value in (environment or {}).items() for word in ("--env", f"{key}={value}")]
        return ["--name", name, *mounts, *told, *options, image, *command]

    def shell(self, image: str, script: str, *, user: str | None = None) -> Ended:
        """Runs a script of sh in a container of the image, with no entry point in its way."""
        as_user = ["--user", user] if user is not None else []
        return self.run(image, ["-c", script], options=["--entrypoint", "sh", *as_user])

    def config(self, image: str) -> dict[str, Any]:
        """The image's configuration: User, Env, Labels, Entrypoint, Cmd, ..."""
        config: dict[str, Any] = json.loads(self("image", "inspect", "--format", "{{json .Config}}", image))
        return config

    def give_back(self, image: str, folder: Path) -> None:
        """Makes what containers wrote into a folder this user's own, so that it can be removed."""
        self.run(
            image,
            ["-R", f"{os.getuid()}:{os.getgid()}", str(folder)],
            shared=folder,
            options=["--user", "0:0", "--entrypoint", "chown"],
        )


def _name() -> str:
    return f"headrace-test-{os.getpid()}-{next(_NUMBERS)}"


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The engine that answers, or a skip that says how to get one."""
    build = load_build()
    try:
        return Engine(build.find_engine())
    except build.NoEngineError as error:
        pytest.skip(f"no container engine answers ({error}). {build.HOW_TO_GET_ONE}")


@pytest.fixture(scope="session")
def image(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Builds an image of this tree, at its first use, and gives its name: `image("beam")`.

    HEADRACE_TEST_IMAGES names images that are there already, "{name}" in it replaced: "registry/{name}:tag".
    """
    build = load_build()
    built: dict[str, str] = {}
    logs = tmp_path_factory.mktemp("images")

    def make(name: str, *arguments: str) -> str:
        if there := os.environ.get("HEADRACE_TEST_IMAGES"):
            return there.replace("{name}", name)
        if name not in built:
            tag = f"headrace/{name}:test"
            log = logs / f"{name}.log"
            taken = [f"--build-arg={n}={os.environ[n]}" for n in build.TAKEN if os.environ.get(n)]
            reason = build.build(engine.command, name, tag, [*taken, *arguments], log)
            if reason.startswith(build.NO_BASE):
                pytest.skip(f"{name}: {reason}. PYTHON_IMAGE may name another base")
            assert not reason, f"{reason}\n{log.read_text()[-5000:]}"
            built[name] = tag
        return built[name]

    return make
