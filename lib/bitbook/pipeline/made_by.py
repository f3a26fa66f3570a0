"""What of a notebook's code its stored work is made by: an edit to a figure or a table must not repeat that work."""

from __future__ import annotations

import ast

_STORE = ("work", "keep")  # attributes of a Run through which work reaches the store


class _Undrawn(ast.NodeTransformer):
    """Takes out statements that only show: calls of print and of what comes from bitbook.report."""

    def __init__(self, tree: ast.AST):
        self.shows = {"print"}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bitbook.report"):
                self.shows |= {alias.asname or alias.name for alias in node.names}

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        call = node.value.func if isinstance(node.value, ast.Call) else None
        while isinstance(call, ast.Attribute):
            call = call.value
        return ast.Pass() if isinstance(call, ast.Name) and call.id in self.shows else node


def _names(statement: ast.stmt) -> tuple[set[str], set[str], set[str]]:
    """Return the names that a statement binds, those of them that it imports, and those that it uses."""
    bound, imported, used, local = set(), set(), set(), set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            imported |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            local.add(node.arg)
        elif isinstance(node, ast.comprehension):
            local |= {name.id for name in ast.walk(node.target) if isinstance(name, ast.Name)}
    return (bound | imported) - local, imported, used - local


def made_by(code: str) -> str:
    """Return the statements that the stored work can depend on, in their order, without comments.

    These are the statements that use `run.work` or `run.keep`, and before each of them, over and over, those that bind
    a name that it uses, or use the same object and so may have changed it. Nothing else can matter.
    """
    tree = ast.parse(code)
    statements = _Undrawn(tree).visit(tree).body
    names = [_names(statement) for statement in statements]
    modules = set().union(*(imported for _, imported, _ in names))
    taken = {
        number
        for number, statement in enumerate(statements)
        if any(isinstance(node, ast.Attribute) and node.attr in _STORE for node in ast.walk(statement))
    }
    waiting = sorted(taken)
    while waiting:
        later = waiting.pop()
        needed = names[later][2]
        for number in set(range(later)) - taken:
            bound, _, used = names[number]
            if bound & needed or (used & needed) - modules:
                taken.add(number)
                waiting.append(number)
    return "\n".join(ast.unparse(statements[number]) for number in sorted(taken))
