"""The front door: what is exported, that it is complete, and that importing it is cheap."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import itertools
import subprocess
import sys
from types import ModuleType

import pytest

import headrace
from headrace import components, core, pipelines
from headrace.core import problem

PACKAGES = [headrace, components, pipelines]
HEAVY = "('kfp', 'tensorflow', 'apache_beam', 'pyarrow', 'numpy', 'click', 'rich')"


def fresh(code: str) -> str:
    """What a fresh process prints."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_every_exported_name_is_there_once_and_in_order(package: ModuleType) -> None:
    assert sorted(set(package.__all__)) == package.__all__
    for name in package.__all__:
        assert getattr(package, name) is not None


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_every_public_name_is_exported(package: ModuleType) -> None:
    """As httpx tests its own: a name that is not a module, and does not begin with an underscore, is in `__all__`."""
    own_use = {"TYPE_CHECKING", "Any", "annotations", "export"}
    public = {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name not in own_use
    }
    assert public <= set(package.__all__)
    assert sorted(dir(package)) == package.__all__


def test_all_that_a_problem_file_declares_is_exported() -> None:
    declared = {name for name in problem.__all__ if isinstance(getattr(problem, name), type)}
    assert declared <= set(headrace.__all__)
    for name in declared:
        assert getattr(headrace, name) is getattr(problem, name)


def test_every_step_is_a_component_by_name() -> None:
    from kfp.dsl.base_component import BaseComponent

    for name in components.__all__:
        component = getattr(components, name)
        assert isinstance(component, BaseComponent)
        assert component.name == name


def test_the_version_is_the_distributions() -> None:
    from importlib import metadata

    assert headrace.__version__ == metadata.version("headrace")


def test_a_name_that_there_is_not_is_an_attribute_error() -> None:
    for package in PACKAGES:
        with pytest.raises(AttributeError, match="nonsense"):
            _ = package.nonsense


IMPORTS = (
    "import headrace.components.train.config",
    "from headrace.components import train as exported",
    "from headrace import components",
    "from headrace.components.train import config as contents",
    "import headrace.components.train.config as contents",
)


@pytest.mark.parametrize("order", list(itertools.permutations(IMPORTS, 3)), ids=lambda order: "; ".join(order))
def test_a_component_is_the_same_in_every_order_of_imports(order: tuple[str, ...]) -> None:
    """`train` is a package and a component: the attribute is the component, and the package's contents are there."""
    script = "\n".join(
        [
            *order,
            "import sys, headrace.components",
            "from headrace.components import train",
            "import headrace.components.train.config as again",
            "module = sys.modules['headrace.components.train.config']",
            "from kfp.dsl.base_component import BaseComponent",
            "assert isinstance(train, BaseComponent) and train is headrace.components.train",
            "assert module is headrace.components.train.config is again",
            "assert globals().get('contents', module) is module",
            "assert globals().get('exported', train) is train",
        ]
    )
    run_anew(script)


def run_anew(code: str) -> None:
    """Runs code as a fresh process sees our packages; those of others, which take seconds to import, stay."""
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "headrace"}
    for name in before:
        del sys.modules[name]
    try:
        exec(compile(code, "order", "exec"), {})
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "headrace"]:
            del sys.modules[name]
        sys.modules.update(before)


def test_functions_are_called_and_reach_the_contents_of_the_package_of_their_name() -> None:
    from headrace.pipelines import lint
    from headrace.pipelines.lint import check

    assert lint.check is check
    assert callable(lint)
    assert list(inspect.signature(lint).parameters) == ["path", "platform", "backend"]
    assert lint.__doc__ == check.lint.__doc__
    assert importlib.import_module("headrace.pipelines.static_training").NAME == pipelines.static_training.NAME


def test_an_export_can_be_replaced_for_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    before = components.train
    monkeypatch.setattr("headrace.components.train", "replaced")
    assert components.train == "replaced"
    monkeypatch.undo()
    assert components.train is before


def test_what_tests_replace_inside_a_package_of_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import headrace.components.train.request as module

    monkeypatch.setattr("headrace.components.train.request.warm_start_version", "replaced")
    assert module.warm_start_version == "replaced"  # type: ignore[comparison-overlap]


def test_a_package_is_pickled_by_its_name() -> None:
    import pickle

    for package in (components, pipelines):
        assert pickle.loads(pickle.dumps(package)) is package


@pytest.mark.parametrize(
    "code",
    [
        "import headrace",
        "from headrace import Categorical, Numeric, Problem",
        "import headrace.components, headrace.pipelines",
        "from headrace import run, run_tuned, run_batch_scoring",
        "from headrace.components.train import config",
    ],
)
def test_importing_it_is_cheap(code: str) -> None:
    heavy = HEAVY.replace("'numpy', ", "") if "train" in code else HEAVY
    assert fresh(f"{code}\nimport sys\nprint([name for name in {heavy} if name in sys.modules])") == "[]"


def test_a_star_import_takes_all() -> None:
    space: dict[str, object] = {}
    exec("from headrace import *", space)
    assert set(headrace.__all__) <= set(space)


def test_the_tiers_are_packages_below_the_front_door() -> None:
    # An editable install maps them from elsewhere, so that listing the package's own folder does not show them.
    for name in ("components", "core", "pipelines"):
        assert importlib.util.find_spec(f"headrace.{name}") is not None
    assert headrace.core is core
