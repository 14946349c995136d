"""Code digests: of a Problem file's code, without comments, docstrings and layout.

The statement that declares the Problem is excluded if its whole effect is in the Problem's values: an edited gate then
does not change the digest.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import symtable
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from headrace.core.problem.user_modules import UserModule

_NAME = "problem"
_DOCUMENTED = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
# Functions whose calls return values and have no side effects.
_PURE = frozenset({"dict", "float", "frozenset", "int", "len", "list", "max", "min", "range", "round", "set", "sorted"})
_PURE |= frozenset({"str", "sum", "tuple", "zip", "enumerate"})
_EFFECTS = (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom, ast.Lambda)
# Access to a module's values without their names.
_HIDDEN_NAMES = frozenset({"globals", "vars", "locals", "eval", "exec", "__import__"})
_HIDDEN_ATTRIBUTES = frozenset({"__globals__", "f_globals", "modules"})


def code_digest(
    source: str, namespace: Mapping[str, Any], modules: Sequence[UserModule], *, without: Sequence[str] = ()
) -> str:
    """SHA-256, in hexadecimal, of the code of a Problem file and the user's modules; equal in all versions of Python.

    Args:
        source: the Problem file's text.
        namespace: the names that it defines.
        modules: the user's modules that it imports.
        without: functions of the file that are excluded, unless its other code names them.
    """
    source = _unified(source)
    tree = ast.parse(source)
    for name in without:
        rest = [each for each in tree.body if not (isinstance(each, ast.FunctionDef) and each.name == name)]
        if not any(isinstance(node, ast.Name) and node.id == name for each in rest for node in ast.walk(each)):
            tree.body = rest
    texts = [_unified(module.source) for module in modules]
    trees = [ast.parse(text) for text in texts]
    declaration = _declaration(tree, namespace, trees)
    if declaration is not None:
        tree.body.remove(declaration)
    total = hashlib.sha256()
    named = zip(["", *(module.name for module in modules)], [source, *texts], [tree, *trees], strict=True)
    for name, text, each in named:
        total.update(f"\0{name}\0".encode())
        for token in _tokens(each, text):
            total.update(f"{token}\n".encode())
    return total.hexdigest()


def _unified(source: str) -> str:
    return source.replace("\r\n", "\n").replace("\r", "\n")


def _declaration(tree: ast.Module, namespace: Mapping[str, Any], others: Sequence[ast.Module]) -> ast.stmt | None:
    """The statement `problem = Problem(...)` if its whole effect is in the Problem's values; else None.

    No other code may read the name, because the values that it reads would be in no digest.
    """
    statements = [statement for statement in tree.body if _assigns_problem(statement)]
    if len(statements) != 1:
        return None
    (statement,) = statements
    value = getattr(statement, "value", None)
    if value is None or not all(_is_plain(node, namespace) for node in ast.walk(value)):
        return None
    rest = ast.Module([each for each in tree.body if each is not statement], type_ignores=[])
    if any(_is_hidden_way(node) for each in (rest, *others) for node in ast.walk(each)):
        return None
    try:
        scopes = symtable.symtable(ast.unparse(rest), "rest", "exec")
    except RecursionError:
        return None
    return None if _reads_problem(scopes) else statement


def _assigns_problem(statement: ast.stmt) -> bool:
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    return len(targets) == 1 and isinstance(targets[0], ast.Name) and targets[0].id == _NAME


def _is_plain(node: ast.AST, namespace: Mapping[str, Any]) -> bool:
    """Whether a part of an expression only computes a value."""
    if not isinstance(node, ast.Call):
        return not isinstance(node, _EFFECTS)
    called = _named(node.func, namespace)
    if isinstance(called, type) and called.__module__.startswith("headrace."):
        return True
    return any(called is getattr(builtins, name) for name in _PURE)


def _named(node: ast.expr, namespace: Mapping[str, Any]) -> Any:
    """The value of a name or of an attribute of a module; None for any other expression."""
    if isinstance(node, ast.Name):
        return namespace.get(node.id, getattr(builtins, node.id, None))
    if isinstance(node, ast.Attribute):
        owner = _named(node.value, namespace)
        return getattr(owner, node.attr, None) if isinstance(owner, ModuleType) else None
    return None


def _is_hidden_way(node: ast.AST) -> bool:
    return (isinstance(node, ast.Name) and node.id in _HIDDEN_NAMES) or (
        isinstance(node, ast.Attribute) and node.attr in _HIDDEN_ATTRIBUTES
    )


def _reads_problem(table: symtable.SymbolTable) -> bool:
    """Whether any scope uses the module's name `problem`; an argument of that name is ignored."""
    if _NAME in table.get_identifiers():
        symbol = table.lookup(_NAME)
        if table.get_type() == "module" or symbol.is_global():
            return True
    return any(_reads_problem(child) for child in table.get_children())


def _tokens(tree: ast.Module, source: str) -> Iterator[str]:
    """The tree as lines of text, without docstrings and positions.

    The text of `ast.dump` and the parts of an f-string differ between versions of Python; an f-string is represented by
    its source text.
    """
    lines = source.encode().split(b"\n")
    pending: list[Any] = [tree]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, list):
            pending += [")", *reversed(item), "("]
        elif not isinstance(item, ast.AST):
            yield f"{type(item).__name__} {item!a}"
        elif type(item).__name__ in ("JoinedStr", "TemplateStr"):
            yield f"written {_written(item, lines)!a}"
        else:
            pending.append(")")
            for name in reversed(item._fields):
                value: Any = getattr(item, name, None)
                if name in ("ctx", "kind", "type_comment", "type_ignores") or (value is None and name != "value"):
                    continue
                if name == "body" and isinstance(item, _DOCUMENTED):
                    value = value[1:] if ast.get_docstring(item, clean=False) is not None else value
                if value != []:
                    pending += [_plain(value), f"{name}="]
            pending.append(f"{type(item).__name__}(")


def _plain(value: Any) -> Any:
    """A field's value; a string has the form of a constant, to distinguish it from a token."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return f"str {value!a}" if isinstance(value, str) else value


def _written(node: Any, lines: Sequence[bytes]) -> str:
    first, last = int(node.lineno) - 1, int(node.end_lineno) - 1
    if first == last:
        return lines[first][int(node.col_offset) : int(node.end_col_offset)].decode()
    parts = [lines[first][int(node.col_offset) :], *lines[first + 1 : last], lines[last][: int(node.end_col_offset)]]
    return b"\n".join(parts).decode()
