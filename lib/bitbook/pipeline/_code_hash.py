"""Static import walk: which modules of the package some code uses, and a hash of each."""

import ast
import atexit
import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from bitbook.files import write_atomically

PACKAGE = Path(__file__).resolve().parents[1]


def module_file(name: str, package: Path = PACKAGE) -> Path | None:
    """Return the file of a dotted module name inside the package, or None where there is no such module."""
    path = package.parent.joinpath(*name.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if name.split(".")[0] == package.name and file.is_file()), None)


def _source(name: str, package: Path) -> str:
    file = module_file(name, package)
    return file.read_text() if file else ""


def _dotted(node: ast.expr) -> str:
    """Return `a.b.c` for such an expression, nothing for any other."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def _names(tree: ast.AST) -> Iterator[str]:
    """Yield every dotted name that code may import, relative ones behind their dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield base
            yield from (f"{base}{'.' * bool(node.module)}{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and (name := _dotted(node)):  # import bitbook; bitbook.codes.load(...)
            yield name


@cache
def _seen() -> dict[str, tuple[str, list[str]]]:
    """What `_look` has found, by a digest of the source: kept beside the bytecode, since it takes 8 ms a module."""
    own = _digest(Path(__file__).read_text())  # what this very code finds under this Python
    path = PACKAGE / "__pycache__" / f"code.{sys.implementation.cache_tag}-{own}.json"
    seen: dict[str, tuple[str, list[str]]] = {}
    with suppress(OSError, ValueError):
        seen = json.loads(path.read_text())
    before = len(seen)

    def keep() -> None:
        if len(seen) > before:
            with suppress(OSError):  # a package that is installed read-only
                write_atomically(path, json.dumps(seen))

    atexit.register(keep)
    return seen


def _digest(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()[:24]


def _look(source: str) -> tuple[str, list[str]]:
    """The hash of a piece of source by what it does, and the names that it may import, as `_names` spells them."""
    seen, digest = _seen(), _digest(source)
    if digest not in seen:
        tree = ast.parse(source)
        names = sorted(set(_names(tree)))
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        for node in ast.walk(tree):
            if isinstance(node, documented) and ast.get_docstring(node):
                node.body = node.body[1:]
        seen[digest] = hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16], names
    return seen[digest]


@cache
def imported(source: str, *, module: str = "", package: Path = PACKAGE) -> frozenset[str]:
    """Return the modules of the package that a piece of source imports directly, function-level imports included."""
    file = module_file(module, package) if module else None
    parents = module.split(".")
    if file is None or file.name != "__init__.py":
        parents.pop()

    def absolute(name: str) -> str:
        level = len(name) - len(name.lstrip("."))
        above = parents[: len(parents) + 1 - level] if level else []
        return ".".join([*above, *filter(None, [name[level:]])])

    return frozenset(name for name in map(absolute, _look(source)[1]) if module_file(name, package))


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


def code_hash(source: str) -> str:
    """Hash code by what it does: comments, docstrings and layout do not count."""
    return _look(source)[0]


def module_hashes(modules: set[str], package: Path = PACKAGE) -> dict[str, str]:
    """Return the code hash of every given module of the package, by name."""
    return {name: code_hash(_source(name, package)) for name in sorted(modules)}
