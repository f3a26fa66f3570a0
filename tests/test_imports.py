"""Who may import whom, and what `import bitbook` costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bitbook import Compressed
from bitbook.pipeline._code_hash import PACKAGE, imported, module_file

FILES = (file.relative_to(PACKAGE.parent).with_suffix("") for file in sorted(PACKAGE.rglob("*.py")))
MODULES = [".".join(path.parts).removesuffix(".__init__") for path in FILES]

# part of the package -> the parts that it may import; a part is a package or a module right under bitbook
ANYTHING = None
MAY_IMPORT = {
    "files": set(),
    "simd": set(),
    "clustering": {"simd"},
    "codes": {"clustering", "files"},
    "kernels": {"codes", "simd"},
    "networks": set(),
    "datasets": {"files"},
    "training": {"files", "networks", "datasets", "clustering", "codes"},
    "tasks": {"networks", "datasets", "training"},
    "runtime": {"codes", "kernels", "networks"},
    "onnx": {"codes", "files", "runtime"},
    "compression": {"files", "clustering", "codes", "kernels", "networks", "datasets", "training", "tasks", "runtime"},
    "search": {
        "files",
        "clustering",
        "codes",
        "kernels",
        "networks",
        "datasets",
        "training",
        "tasks",
        "runtime",
        "compression",
    },
    "methods": {
        *("clustering", "codes", "kernels", "networks", "datasets", "training", "tasks", "runtime"),
        *("compression", "search", "files"),
    },
    "fpga": {"codes"},
    "report": {"codes", "fpga"},
    "pipeline": ANYTHING,
    "cli": ANYTHING,
}
DOOR = ("bitbook.codes._compressed", "runtime")  # Compressed.to_module: the one import upward, inside of a function
LAZY = {
    "pymoo",
    "dvc",
    "papermill",
    "nbconvert",
    "nbformat",
    "jupyter_client",
    "jinja2",
    "psutil",
    "ruamel",
    "onnx",
    "latex2mathml",
}
KERNEL = "bitbook.pipeline._kernel"  # a script of its own, which is nothing but IPython's kernel


def part(name: str) -> str:
    return [*name.split("."), ""][1]


def violations(module: str, source: str) -> list[str]:
    allowed = MAY_IMPORT.get(part(module), set())
    if allowed is ANYTHING or not part(module):
        return []
    used = {part(name) for name in imported(source, module=module)} - {"", part(module)} - allowed
    return [f"{module} imports {name}" for name in sorted(used) if (module, name) != DOOR]


def test_no_part_imports_what_stands_above_it():
    assert {part(name) for name in MODULES} - {""} <= MAY_IMPORT.keys()
    found = [fault for name in MODULES for fault in violations(name, module_file(name).read_text())]
    assert found == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("bitbook.clustering._kmeans1d", "from bitbook.codes import ScalarCode"),
        ("bitbook.codes._scalar", "from ..networks import build"),
        ("bitbook.codes._scalar", "def f():\n    from bitbook import runtime"),
        ("bitbook.training._fit", "import bitbook.tasks"),
        ("bitbook.report.figures", "import bitbook\nbitbook.methods.moea_bins"),
        ("bitbook.compression._baseline", "from bitbook.pipeline._run import start"),
    ],
)
def test_an_import_upward_is_found(module, source):
    assert len(violations(module, source)) == 1


def top_level_imports(source: str) -> set[str]:
    """Names of the packages that are imported when a module is, which code inside of functions is not."""
    found, waiting = set(), list(ast.parse(source).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Try | ast.ClassDef | ast.With):
            waiting += node.body
    return found


def test_optional_packages_are_imported_where_they_are_used():
    found = {name: top_level_imports(module_file(name).read_text()) & LAZY for name in MODULES if name != KERNEL}
    assert {name: packages for name, packages in found.items() if packages} == {}


@pytest.mark.parametrize("command", ["import bitbook", "from bitbook.cli import main; main(['verify', FILE])"])
def test_the_library_and_its_checks_need_no_torch(command, tmp_path):
    file = tmp_path / "a.bitbook"
    Compressed({}, {}, {"a": np.ones(3, np.float32)}, {}, original_parameters=3).save(file)
    code = f"import sys; FILE = {str(file)!r}; {command}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_parts_that_need_no_torch_have_none():
    """What decodes files runs where torch is not installed."""
    root = Path(module_file("bitbook")).parent
    for folder in ("clustering", "codes"):
        for file in (root / folder).rglob("*.py"):
            assert "torch" not in top_level_imports(file.read_text()), file
