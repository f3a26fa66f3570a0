"""Static import walk: which modules of the package some code uses, and a hash of each."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def module_file(name: str, package: Path = PACKAGE) -> Path | None:
    """Return the file of a dotted module name inside the package, or None where there is no such module."""
    path = package.parent.joinpath(*name.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if name.split(".")[0] == package.name and file.is_file()), None)


def _source(name: str, package: Path) -> str:
    file = module_file(name, package)
    return file.read_text() if file else ""


def module_names(package: Path = PACKAGE) -> list[str]:
    """Return the dotted names of all modules of the package."""
    relative = (file.relative_to(package.parent).with_suffix("") for file in sorted(package.rglob("*.py")))
    return [".".join(path.parts).removesuffix(".__init__") for path in relative]


def _dotted(node: ast.expr) -> str:
    """Return `a.b.c` for such an expression, nothing for any other."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def _names(tree: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """Yield every dotted name that code may import, longest last."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")[: len(module.split(".")) - node.level + is_package]
                base = ".".join([*parents, base] if base else parents)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and (name := _dotted(node)):  # import bitbook; bitbook.codes.load(...)
            yield name


@cache
def imported(source: str, *, module: str = "", package: Path = PACKAGE) -> frozenset[str]:
    """Return the modules of the package that a piece of source imports directly, function-level imports included."""
    file = module_file(module, package) if module else None
    names = _names(ast.parse(source), module, file is not None and file.name == "__init__.py")
    return frozenset(name for name in names if module_file(name, package))


def closure(source: str, *, without: tuple[str, ...] = (), package: Path = PACKAGE) -> set[str]:
    """Return every module of the package that code uses, directly or not, without the given ones and theirs."""
    found: set[str] = set()
    waiting = set(imported(source, package=package))
    while waiting:
        name = waiting.pop()
        if name not in found and not any(name == w or name.startswith(f"{w}.") for w in without):
            found.add(name)
            waiting |= imported(_source(name, package), module=name, package=package)
            waiting |= {name.rpartition(".")[0]} - {""}  # importing a module runs its packages
    return found


@cache
def code_hash(source: str) -> str:
    """Hash code by what it does: comments, docstrings and layout do not count."""
    tree = ast.parse(source)
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node):
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def module_hashes(modules: set[str], package: Path = PACKAGE) -> dict[str, str]:
    """Return the code hash of every given module of the package, by name."""
    return {name: code_hash(_source(name, package)) for name in sorted(modules)}
