"""The names this package adds to `evaluate`: what they resolve to, what is left alone, no network used."""

import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import datasets
import pytest
from evaluate import loading

from teminal_hf.evaluation import zste
from teminal_hf.integrations import clap_order
from teminal_hf.integrations import load_by_name as hooks


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """`evaluation_module_factory` hooked, in an empty folder, over a stand-in that returns its arguments."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "evaluation_module_factory", lambda *args, **kwargs: (args, kwargs))
    hooks._wrap(loading, wrapper=hooks.find_metric)
    return loading.evaluation_module_factory


@pytest.mark.parametrize("metric", [zste, clap_order], ids=["zste", "clap_order"])
def test_hook_resolves_its_names(resolve: Any, metric: Any) -> None:
    short = Path(metric.__file__).stem
    for name in (short, f"teminal/{short}"):
        assert resolve(name, download_mode="x") == ((metric.__file__, None, None), {"download_mode": "x"})
        assert resolve(name, module_type="metric") == ((metric.__file__, "metric", None), {})


def test_hook_passes_everything_else_through(resolve: Any, tmp_path: Path) -> None:
    for name in ("accuracy", "./zste", "other/zste", "zste.py", "ZSTE", str(tmp_path / "zste.py")):
        assert resolve(name) == ((name, None, None), {})
    assert resolve("zste", revision="main") == (("zste", None, "main"), {})
    assert resolve("teminal/zste", None, "v1", "config") == (("teminal/zste", None, "v1", "config"), {})
    assert resolve("zste", module_type="comparison") == (("zste", "comparison", None), {})
    for name in ("zste", "teminal/zste", "clap_order"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / f"{Path(name).name}.py").touch()
        assert resolve(name) == ((name, None, None), {})


@pytest.mark.parametrize(
    "module, caller",
    [(datasets.load, datasets.load.load_dataset_builder), (loading, loading.load)],
    ids=["datasets", "evaluate"],
)
def test_the_wrapped_function_is_where_the_library_looks(module: Any, caller: Any) -> None:
    """Fails the day that it moves: then `load_dataset("teminal/esc50-temporal")` would ask the Hub."""
    name = hooks.HOOKED[module.__name__]
    assert name in caller.__code__.co_names, f"{caller.__name__} no longer calls {name}"
    assert caller.__globals__[name] is getattr(module, name)


def test_a_function_that_has_moved_is_said_and_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    module = types.ModuleType("datasets.load")
    hooks._wrap(module, wrapper=hooks.find_dataset)
    assert "datasets.load has no dataset_module_factory any more" in caplog.text


REGISTERING = """
import sys
import teminal_hf
assert not {"datasets", "evaluate", "torch", "transformers", "huggingface_hub"} & set(sys.modules)
teminal_hf.register()
import datasets, evaluate
for module, name in ((datasets.load, "dataset_module_factory"), (evaluate.loading, "evaluation_module_factory")):
    function = getattr(module, name)
    print(hasattr(function, "__wrapped__"), hasattr(getattr(function, "__wrapped__", None), "__wrapped__"))
    teminal_hf.register()
    assert getattr(module, name) is function
"""


@pytest.mark.parametrize("before", ["", "import datasets, evaluate.loading\n"], ids=["imported after", "before"])
def test_registering_wraps_once_and_imports_nothing(before: str) -> None:
    code = before + (REGISTERING if not before else REGISTERING.replace("assert not {", "assert {"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["True", "False"] * 2, done.stderr


def test_without_hooks_both_libraries_are_as_they_were() -> None:
    code = "import datasets, teminal_hf; print(hasattr(datasets.load.dataset_module_factory, '__wrapped__'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"TEMINAL_NO_HOOKS": "1"}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "False"


LOADING = """
import pathlib, socket, sys

attempts = []
def refuse(self, address):
    attempts.append(address)
    raise OSError("no network")
socket.socket.connect = refuse

import evaluate

item = dict(predictions=[[0.3, 0.1], [0.2, 0.4]], references=[[0], [0]], tasks=["3O", "3O"])
def check(metric):
    assert metric.compute(**item)["3O"]["accuracy"] == 0.5

# As in a Space, where teminal_hf is not installed.
sys.modules["teminal_hf"] = None
copy = pathlib.Path(sys.argv[2], "space", "zste.py")
copy.parent.mkdir()
copy.write_text(pathlib.Path(sys.argv[1]).read_text() + "COPY = True\\n")
space = evaluate.load(str(copy))
assert sys.modules[type(space).__module__].COPY
check(space)

del sys.modules["teminal_hf"]
from teminal_hf.integrations.load_by_name import register
register()
for name in ("zste", "teminal/zste", sys.argv[1]):
    metric = evaluate.load(name)
    assert not hasattr(sys.modules[type(metric).__module__], "COPY")
    check(metric)
check(evaluate.combine(["zste"]))
for name in ("clap_order", "teminal/clap_order"):
    assert type(evaluate.load(name)).__name__ == "ClapOrder"

# A local folder of the same name is evaluate's to find.
copy.parent.rename("zste")
local = evaluate.load("zste")
assert sys.modules[type(local).__module__].COPY
assert not attempts, attempts
"""


def test_loads_offline_from_an_empty_folder(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "loading.py").write_text(LOADING)
    environment = os.environ | {
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(Path(zste.__file__).parents[2]),
    }
    command = [sys.executable, str(tmp_path / "loading.py"), zste.__file__, str(tmp_path)]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
