"""The source text of a code answer: taking it from a notebook, looking at it, and running it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

LONGEST = 50_000
WHERE = "<your answer>"


def is_placeholder(name: str, text: str) -> bool:
    """Whether the definition of ``name`` is still the skeleton that the notebook shows.

    A function or class is one if its body is only ``...``, perhaps after a docstring, or if it
    assigns or returns a plain ``...``; a variable is one if it is ``...``. Any other ``...`` is
    part of a real answer: ``except KeyError: ...``, a method of a nested class, a slice, or the old
    placeholder left above finished code.

    Args:
        name: the function or variable that the exercise asks for.
        text: source text; the last definition of ``name`` in it is the one that counts.

    Returns:
        False also for text that is not Python, so that the learner sees the syntax error.
    """
    try:
        nodes = ast.parse(text[:LONGEST]).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    definitions = [node for node in nodes if name in _defined_names(node)]
    if not definitions:
        return False
    last = definitions[-1]
    if not isinstance(last, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return _leaves_open(last)
    body = last.body[1:] if ast.get_docstring(last, clean=False) is not None else last.body
    if all(isinstance(node, ast.Expr) and _is_ellipsis(node.value) for node in body):
        return bool(body)
    return any(_leaves_open(node) for node in _own_statements(last.body))


def _defined_names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign):
        return [node.target.id] if isinstance(node.target, ast.Name) else []
    return [getattr(node, "name", "")]


def _is_ellipsis(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _leaves_open(node: ast.stmt) -> bool:
    statements = (ast.Assign, ast.AnnAssign, ast.Return)
    return isinstance(node, statements) and _is_ellipsis(node.value)


def _own_statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a function, those in loops and branches too, but not of nested functions.

    Exception handlers are left out as well: what they do with ``...`` is the learner's choice.
    """
    waiting = list(body)  # no recursion: a long chain of ``elif`` is nested as deeply as it is long
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for field in ("body", "orelse", "finalbody"):
                waiting += getattr(node, field, [])


def run_text(name: str, text: str, namespace: Mapping[str, Any]) -> Any:
    """Run source text over a copy of a namespace, and return what it calls ``name``.

    Args:
        name: the function or variable that the text should define.
        text: source text.
        namespace: the names that the text may read; it is not changed.

    Raises:
        NameError: the text does not define ``name``.
        BaseException: whatever the text itself raises.
    """
    names = {**namespace, "__name__": "answer"}
    names.pop(name, None)
    exec(compile(text, WHERE, "exec"), names)
    if name not in names:
        raise NameError(f"`{name}` is not defined")
    return names[name]


def answer_text(name: str, namespace: Mapping[str, Any]) -> str | None:
    """The source text of what a notebook calls ``name``, with everything of the learner's it uses.

    Imports, the learner's functions and small plain data are included. Anything else must be among
    the exercise's rebuilt names when the text is run elsewhere.

    Args:
        name: the function or variable that the exercise asks for.
        namespace: the notebook's names.

    Returns:
        None if nothing has that name.

    Raises:
        OSError: the source of a function cannot be found.
    """
    if name not in namespace:
        return None
    texts: dict[str, str] = {}
    waiting = [name]
    while waiting:
        each = waiting.pop()
        if each in texts or each not in namespace or each.startswith("__"):
            continue
        value = namespace[each]
        texts[each] = _text(each, value, must=each == name)
        if isinstance(value, FunctionType) and value.__module__ == "__main__":
            waiting += _names_used(value.__code__)
    return "\n".join(text for text in reversed(texts.values()) if text)


def _text(name: str, value: Any, must: bool) -> str:
    if isinstance(value, ModuleType):
        return f"import {value.__name__} as {name}"
    if value is ...:
        return f"{name} = ..."
    if isinstance(value, FunctionType | type):
        if value.__module__ != "__main__":
            return f"from {value.__module__} import {value.__qualname__} as {name}"
        try:
            text = textwrap.dedent(inspect.getsource(value))
        except (OSError, TypeError):
            if must:
                raise OSError(f"`{name}` cannot be read: write it with `def` in a cell.") from None
            return ""
        alias = value.__name__.isidentifier() and value.__name__ != name
        return f"{text}{name} = {value.__name__}\n" if alias else text
    shown = repr(value) if isinstance(value, str | int | float | list | tuple | dict | set) else ""
    try:
        plain = len(shown) < LONGEST // 10 and bool(shown) and ast.literal_eval(shown) == value
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        plain = False
    if must and not plain:
        raise OSError(f"`{name}` must be a function, or plain data such as numbers and texts.")
    return f"{name} = {shown}" if plain else ""


def _names_used(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_used(constant)
