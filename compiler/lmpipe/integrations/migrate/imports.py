"""Add imports to the top of a file."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst
from libcst.helpers import get_full_name_for_node

Statement = cst.SimpleStatementLine | cst.BaseCompoundStatement
Body = list[Statement]


def with_import(body: Sequence[Statement], line: str) -> Body:
    """Add an import to the statements of a file, in order, unless it is there."""
    made = cst.parse_statement(line)
    assert isinstance(made, cst.SimpleStatementLine)
    imports = [number for number, item in enumerate(body) if _key(item) is not None]
    if any(_key(body[number]) == _key(made) and _code(body[number]) == line for number in imports):
        return list(body)
    place = next(
        (number for number in imports if _before(made, body[number])),
        imports[-1] + 1 if imports else _first_code(body),
    )
    before, after = list(body[:place]), list(body[place:])
    if after and place in imports and place == imports[0]:
        # The space above the first import stays there.
        first = after[0]
        assert isinstance(first, cst.SimpleStatementLine)
        made = made.with_changes(leading_lines=first.leading_lines)
        after[0] = first.with_changes(leading_lines=[])
    return [*before, made, *after]


def _before(new: Statement, old: Statement) -> bool:
    """Whether a new import stands before one of the file: those of lmpipe are last."""
    new_key, old_key = _key(new), _key(old)
    assert new_key is not None
    assert old_key is not None
    if old_key[1] == "__future__":
        return False
    is_last = old_key[1].split(".")[0] in ("lmpipe", "dspy")
    return (is_last and new_key[1] != "lmpipe") or new_key < old_key


def _key(statement: Statement) -> tuple[bool, str] | None:
    """Order imports as isort does inside a group; None for other statements."""
    if not isinstance(statement, cst.SimpleStatementLine):
        return None
    first = statement.body[0]
    if isinstance(first, cst.Import):
        return False, get_full_name_for_node(first.names[0].name) or ""
    if isinstance(first, cst.ImportFrom):
        return True, (get_full_name_for_node(first.module) or "") if first.module else ""
    return None


def _first_code(body: Sequence[Statement]) -> int:
    """The place after the docstring of a file."""
    first = body[0] if body else None
    is_docstring = (
        isinstance(first, cst.SimpleStatementLine)
        and isinstance(first.body[0], cst.Expr)
        and isinstance(first.body[0].value, cst.SimpleString)
    )
    return 1 if is_docstring else 0


def _code(statement: Statement) -> str:
    return cst.Module([statement]).code.strip()
