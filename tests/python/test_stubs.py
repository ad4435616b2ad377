"""The committed stub of the extension names what the extension has; every public function of the package has a docstring or a plain name."""
import ast
import importlib
import inspect
import pathlib
import pkgutil

import tenon
from tenon import _core

PACKAGE = pathlib.Path(tenon.__file__).parent
IGNORED = {"name", "value", "__members__"}  # of pybind11's enums


def stub_names():
    tree = ast.parse((PACKAGE / "_core.pyi").read_text())
    names = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            members = {n.name for n in node.body if isinstance(n, ast.FunctionDef)} | {n.target.id for n in node.body if isinstance(n, ast.AnnAssign)}
            names[node.name] = members
        elif isinstance(node, ast.FunctionDef):
            names[node.name] = None
    return names


def test_stub_matches_the_extension():
    stub = stub_names()
    actual = {n for n in dir(_core) if not n.startswith("__")}
    assert actual == set(stub) - {"_Enum"}
    for name, members in stub.items():
        if members is None or name in ("_Enum", "Tensor"):
            continue
        real = {m for m in vars(getattr(_core, name)) if not m.startswith("_")} - IGNORED
        assert real == {m for m in members if not m.startswith("_")}, name


def test_tensor_stub():
    from tenon.tensors import TensorMethods

    declared = stub_names()["Tensor"] | {name for owner in TensorMethods.__mro__[:-1] for name in vars(owner)}
    actual = {m for m in vars(_core.Tensor) if not m.startswith(("__", "_pybind11"))}
    assert actual <= declared and {m for m in declared if not m.startswith("__")} - {"pooler_output"} <= actual


def test_public_names_resolve_and_modules_are_documented():
    for name in dir(tenon):
        if not name.startswith("_"):
            assert getattr(tenon, name) is not None
    for info in pkgutil.walk_packages([str(PACKAGE)], "tenon."):
        if info.name not in ("tenon.__main__", "tenon._core"):
            assert importlib.import_module(info.name).__doc__, info.name
    for owner in (tenon.PreTrainedModel, tenon.PreTrainedTokenizerBase, tenon.BaseImageProcessor, tenon.Pipeline, tenon.PretrainedConfig, tenon.pipeline):
        assert inspect.getdoc(owner)
    assert (PACKAGE / "py.typed").exists()


def test_packages_export_their_names():
    for package, name in (("experts", "RouterMonitor"), ("trainer", "TrainingArguments"), ("nn", "Linear"), ("peft", "LoraConfig")):
        names: dict = {}
        exec(f"from tenon.{package} import *", names)
        assert names[name].__name__ == name and not any(n.startswith("_") and n != "__builtins__" for n in names)
        module = importlib.import_module(f"tenon.{package}")
        assert set(module.__all__) <= set(dir(module)) and not hasattr(module, "no_such_name")
