"""What is imported with what: TensorFlow without what only happens to be installed, rooms without others' libraries."""

import importlib
import subprocess
import sys
import threading

import pytest

from headrace.core.tensorflow_import import import_tensorflow


def check(code: str) -> None:
    """Runs it in a process that has imported nothing yet."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_tensorflow_comes_alone_and_the_rest_can_come_later() -> None:
    check("""
import sys
from headrace.core.tensorflow_import import import_tensorflow
tf = import_tensorflow()
assert not {"sklearn", "scipy", "matplotlib"} & set(sys.modules), sorted(sys.modules)
import sklearn, scipy, matplotlib
layer = tf.keras.layers.Dense(1)
assert layer(tf.ones([2, 3])).shape == (2, 1)
assert import_tensorflow() is tf
""")


@pytest.mark.parametrize("main", [True, False])
def test_only_the_main_thread_hides_modules_from_others(monkeypatch: pytest.MonkeyPatch, main: bool) -> None:
    for name in ("tensorflow", "sklearn"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    seen = []
    monkeypatch.setattr(importlib, "import_module", lambda _: seen.append(sys.modules.get("sklearn", "importable")))
    if main:
        import_tensorflow()
    else:
        thread = threading.Thread(target=import_tensorflow)
        thread.start()
        thread.join()
    assert seen == [None if main else "importable"]
    assert "sklearn" not in sys.modules


def test_light_work_needs_neither_numpy_nor_tensorflow() -> None:
    check("""
import importlib, sys
for name in ("numpy", "tensorflow", "apache_beam", "pyarrow", "google_crc32c", "optuna"):
    sys.modules[name] = None
for name in (
    "registry.folder.step", "registry.vertex.register", "registry.vertex.lookup",
    "deploy.vertex.step", "deploy.kserve.step", "tune.vertex.steps",
    "summarize.step", "summarize.batch.step",
):
    importlib.import_module(f"headrace.components.{name}")
""")


def test_rollbacks_and_steps_of_a_canary_need_neither_numpy_nor_tensorflow() -> None:
    check("""
import importlib, sys
for name in ("numpy", "tensorflow", "apache_beam", "pyarrow"):
    sys.modules[name] = None
for name in ("rollback.step", "rollout.service"):
    importlib.import_module(f"headrace.components.{name}")
""")


@pytest.mark.parametrize(
    ("components", "lacking"),
    [
        (("train", "tune", "evaluate"), ()),
        (("registry", "deploy", "serve", "summarize"), ("google_crc32c",)),
    ],
)
def test_what_runs_in_other_images_needs_none_of_the_libraries_that_only_beams_has(
    components: tuple[str, ...], lacking: tuple[str, ...]
) -> None:
    check(f"""
import importlib, pkgutil, sys
for name in ("apache_beam", "pyarrow", "datasketches", "fastavro", *{lacking}):
    sys.modules[name] = None
for name in {components}:
    package = importlib.import_module(f"headrace.components.{{name}}")
    for module in pkgutil.walk_packages(package.__path__, f"{{package.__name__}}."):
        importlib.import_module(module.name)
""")
