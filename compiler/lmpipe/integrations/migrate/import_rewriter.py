"""`ImportRewriter`: imports lmpipe in place of DSPy; what it removes leaves its comments."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst
from libcst.helpers import get_full_name_for_node

from lmpipe.integrations.migrate.imports import Statement
from lmpipe.integrations.migrate.kinds import dspy_name
from lmpipe.integrations.migrate.work import Work


class ImportRewriter(cst.CSTTransformer):
    """Rewrites the imports of a file.

    Args:
        work: what is known of the file, and where notes go.
        kept: the names of DSPy that an earlier pass left, whose imports stay.
    """

    def __init__(self, work: Work, kept: frozenset[str]) -> None:
        self.work = work
        self.kept = kept
        self._removed: list[cst.CSTNode] = []
        self._has_import = False

    def remove(self, statement: cst.CSTNode) -> None:
        """Note that a statement is left out of its block."""
        self._removed.append(statement)

    def leave_Import(
        self, original_node: cst.Import, updated_node: cst.Import
    ) -> cst.Import | cst.RemovalSentinel:
        names = list(original_node.names)
        others = [alias for alias in names if _imported(alias).split(".")[0] != "dspy"]
        if len(others) == len(names):
            return updated_node
        self.work.wrote(original_node, "import")
        stays = "." in self.kept or any(self._keeps(_imported(alias)) for alias in names)
        kept = names if stays else others
        if self._first_import(original_node):
            kept = [*kept, cst.ImportAlias(cst.Name("lmpipe"))]
        return self._import_of(kept, updated_node)

    def leave_ImportFrom(
        self, original_node: cst.ImportFrom, updated_node: cst.ImportFrom
    ) -> cst.ImportFrom | cst.Import | cst.RemovalSentinel:
        module = get_full_name_for_node(original_node.module) if original_node.module else ""
        names = original_node.names
        if (module or "").split(".")[0] != "dspy" or original_node.relative:
            return updated_node
        if isinstance(names, cst.ImportStar):
            self.work.leave(original_node, "import the names of DSPy one by one, then migrate")
            return updated_node
        kept = [alias for alias in names if self._keeps(f"{module}.{_imported(alias)}")]
        self.work.wrote(original_node, "import")
        if kept:
            if self._first_import(original_node):
                self.work.imports.add("import lmpipe")
            if len(kept) == len(names):
                return updated_node
            kept[-1] = kept[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
            return updated_node.with_changes(names=kept)
        if self._first_import(original_node):
            return cst.Import([cst.ImportAlias(cst.Name("lmpipe"))])
        return cst.RemoveFromParent()

    def _keeps(self, qualified: str) -> bool:
        return dspy_name(qualified) in self.kept

    def _first_import(self, node: cst.CSTNode) -> bool:
        """Whether lmpipe is to be imported here: once in the file, or in a function that does."""
        inside = self.work.kinds.around(node, cst.FunctionDef) is not None
        if inside:
            return not self._has_import
        first, self._has_import = not self._has_import, True
        return first

    def _import_of(
        self, aliases: Sequence[cst.ImportAlias], updated: cst.Import
    ) -> cst.Import | cst.RemovalSentinel:
        if not aliases:
            return cst.RemoveFromParent()
        last = aliases[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
        space = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
        others = [alias.with_changes(comma=space) for alias in aliases[:-1]]
        return updated.with_changes(names=[*others, last])

    def without_removed(self, body: Sequence[Statement]) -> list[Statement]:
        """Leave out the statements that are gone; comments above them go to the next one."""
        kept: list[Statement] = []
        lines: list[cst.EmptyLine] = []
        for statement in body:
            leading = list(getattr(statement, "leading_lines", ()))
            if any(statement is removed for removed in self._removed):
                lines += [line for line in leading if line.comment is not None]
                continue
            if lines:
                kept.append(statement.with_changes(leading_lines=[*lines, *leading]))
                lines = []
            else:
                kept.append(statement)
        return kept or [cst.SimpleStatementLine([cst.Pass()])]


def _imported(alias: cst.ImportAlias) -> str:
    return get_full_name_for_node(alias.name) or ""
