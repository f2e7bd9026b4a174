"""Walk a program, rebuild it with other predictors, and count its LM calls.

A program is a graph: modules hold predictors, other modules, and lists, tuples and dicts of them.
Parts may be shared, and modules may refer to each other.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping
from math import isfinite
from typing import Any, TypeVar

from lmpipe.errors import ArtifactError
from lmpipe.modules.uses import Uses, uses_by_forward
from lmpipe.signatures.signature_spec import SignatureSpec
from lmpipe.state.program_state import ProgramState

T = TypeVar("T")
L = TypeVar("L")


class Node:
    """The base class of `Module`: an object whose attributes are parts of a program."""

    @property
    def _passes(self) -> int:
        """The maximum number of passes through `forward` in one run; checks make more than one."""
        return 1

    def _count_calls(self, seen: set[int], *, embeddings: bool) -> int:
        """Count this node; see `count_calls`."""
        raise NotImplementedError

    def _uses(self) -> Uses:
        """Count how often one run uses each part.

        A module whose `forward` does not show it in its source says so here.
        """
        return uses_by_forward(self)


_WITH_PARTS = (Node, list, tuple, dict)


def walk(root: Any, leaf: type[L]) -> Iterator[tuple[str, L]]:
    """Find the leaves of a program in the order of declaration, each of them once.

    Yields:
        The attribute path of each leaf, such as `steps[0].query`, and the leaf.
    """
    return _walk(root, leaf, "", set())


def _walk(value: Any, leaf: type[L], path: str, seen: set[int]) -> Iterator[tuple[str, L]]:
    is_leaf = isinstance(value, leaf)
    if not (is_leaf or isinstance(value, _WITH_PARTS)) or id(value) in seen:
        return
    seen.add(id(value))
    if is_leaf:
        yield path, value
        return
    for label, item in _parts(value):
        yield from _walk(item, leaf, (path + label).removeprefix("."), seen)


def rebuild(root: T, replaced: Mapping[int, Any]) -> T:
    """Copy a program with some of its parts replaced.

    Only what leads to a replaced part is copied. Everything else is shared with the original,
    and what was shared inside the original is shared inside the copy. New parts are given by the
    `id` of the part that each replaces.
    """
    copied = _holders(root, replaced)
    copies = dict(replaced)

    def copy_of(value: Any) -> Any:
        if id(value) in copies:
            return copies[id(value)]
        if id(value) not in copied:
            return value
        if isinstance(value, tuple):
            # A named tuple takes its items one by one.
            make = getattr(type(value), "_make", tuple)
            return copies.setdefault(id(value), make([copy_of(item) for item in value]))
        # The copy is registered before its parts are copied, because parts may refer to it.
        result = copies[id(value)] = copy.copy(value)
        if isinstance(value, list):
            result[:] = [copy_of(item) for item in value]
        elif isinstance(value, dict):
            result.update({key: copy_of(item) for key, item in value.items()})
        else:
            new = {name: copy_of(item) for name, item in _attributes(value).items()}
            # The class's own __setattr__ may refuse, as a frozen dataclass does.
            vars(result).update(new)
        return result

    rebuilt: T = copy_of(root)
    return rebuilt


def count_calls(value: Any, seen: set[int] | None = None, *, embeddings: bool = False) -> int:
    """Count the maximum number of LM calls of one run.

    Args:
        value: a module, a container of modules, or any other object, which makes no calls.
        seen: the `id`s of the parts that were already counted; those found are added.
        embeddings: count requests to an embedder instead of LM calls.
    """
    seen = set() if seen is None else seen
    if not isinstance(value, _WITH_PARTS) or id(value) in seen:
        return 0
    seen.add(id(value))
    if isinstance(value, Node):
        return value._count_calls(seen, embeddings=embeddings)
    return count_parts(value, seen, embeddings=embeddings)


def count_parts(value: Any, seen: set[int], *, embeddings: bool) -> int:
    """Count the parts of a module or a container; see `count_calls`.

    A part counts as often as its module's `forward` uses it, at least once; if that is up to the
    data, once.
    """
    return sum(
        times * count_calls(item, seen, embeddings=embeddings)
        for item, times in used_parts(value).values()
    )


def used_parts(value: Any) -> dict[str, tuple[Any, int]]:
    """List what a module or a container holds, and how often one run uses it at most.

    The keys are the labels that each part adds to a path.
    """
    uses = value._uses() if isinstance(value, Node) else {}
    found = {}
    for label, item in _parts(value):
        times = uses.get(label.removeprefix("."), 1)
        found[label] = item, max(1, int(times)) if isfinite(times) else 1
    return found


def uncounted_uses(root: Any, leaf: type[Node]) -> list[str]:
    """Name the parts that a program uses in loops whose length is up to the data.

    Modules that declare `max_calls` are left out, and so is what leaves do inside.
    """
    found: list[str] = []
    for _, node, _ in _walk_used(root, leaf, "", 1, set()):
        if isinstance(node, leaf):
            continue
        uses = node._uses()
        parts = _attributes(node)
        unknown = [name for name, times in uses.items() if not isfinite(times)]
        held = [name for name in unknown if _asks(parts.get(name))]
        found += [f"{type(node).__name__}.{name}" for name in held]
    return found


def _asks(part: Any) -> bool:
    """Whether a part makes calls."""
    return any(count_calls(part, embeddings=embeddings) for embeddings in (False, True))


def walk_used(root: Any, leaf: type[L]) -> Iterator[tuple[str, L, int]]:
    """Find leaves like `walk`, and how often one run uses each of them at most.

    Those inside of modules that declare `max_calls` are left out: that counts all their calls.
    """
    for path, node, times in _walk_used(root, leaf, "", 1, set()):
        if isinstance(node, leaf):
            yield path, node, times


def _walk_used(
    value: Any, leaf: type[Any], path: str, times: int, seen: set[int]
) -> Iterator[tuple[str, Node, int]]:
    """Find the nodes of a program down to its leaves, and how often one run uses each."""
    if not isinstance(value, _WITH_PARTS) or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Node):
        if getattr(value, "max_calls", None) is not None:
            return
        yield path, value, times
        if isinstance(value, leaf):
            return
        times *= value._passes
    for label, (item, each) in used_parts(value).items():
        yield from _walk_used(item, leaf, (path + label).removeprefix("."), times * each, seen)


def _parts(value: Any) -> Iterable[tuple[str, Any]]:
    """List what a module or a container holds, with the label that each part adds to a path."""
    if isinstance(value, Node):
        return [(f".{name}", item) for name, item in _attributes(value).items()]
    if isinstance(value, dict):
        return [(f"[{key}]", item) for key, item in value.items()]
    return [(f"[{index}]", item) for index, item in enumerate(value)]


def check_fits(specs: Mapping[str, SignatureSpec], state: ProgramState) -> None:
    """Check that a state was learned for predictors with these signatures by path.

    Raises:
        ArtifactError: if a predictor is missing, unknown or has another signature, or if a field
            that the state describes is unknown.
    """
    learned = state.predictors
    problems = [
        *[f"  {path}: in the program, not in the state" for path in specs if path not in learned],
        *[f"  {path}: in the state, not in the program" for path in learned if path not in specs],
        *[
            f"  {path}: learned for another signature than {spec}"
            for path, spec in specs.items()
            if path in learned and learned[path].schema_hash != spec.schema_hash
        ],
        *[
            f"  {path}: in the state, a description of {name!r}, but {spec} has no such field"
            for path, spec in specs.items()
            if path in learned and learned[path].descriptions
            for name in sorted(learned[path].descriptions.keys() - {f.name for f in spec.fields})
        ],
    ]
    if problems:
        raise ArtifactError(
            "this state does not fit this program:\n"
            + "\n".join(problems)
            + "\n  load it with the program that it was compiled from, or compile again"
        )


def _attributes(module: Node) -> dict[str, Any]:
    """A module's own attributes, and those of its class that hold modules."""
    of_the_class = {
        name: item
        for kind in reversed(type(module).__mro__)
        for name, item in vars(kind).items()
        if isinstance(item, _WITH_PARTS) and not name.startswith("__")
        if next(walk(item, Node), None)
    }
    return of_the_class | vars(module)


def _holders(root: Any, parts: Collection[int]) -> set[int]:
    """The `id`s of everything between the root and some parts, which are given by their `id`s."""
    holders: dict[int, list[int]] = {}
    seen: set[int] = set()
    pending = [root]
    while pending:
        value = pending.pop()
        if not isinstance(value, _WITH_PARTS) or id(value) in seen or id(value) in parts:
            continue
        seen.add(id(value))
        for _, item in _parts(value):
            if isinstance(item, _WITH_PARTS):
                holders.setdefault(id(item), []).append(id(value))
                pending.append(item)
    return reached_from(parts, holders)


def reached_from(starts: Iterable[int], edges: Mapping[int, Iterable[int]]) -> set[int]:
    """Everything that edges lead to from some starts, in any number of steps."""
    found: set[int] = set()
    pending = list(starts)
    while pending:
        new = set(edges.get(pending.pop(), ())) - found
        found |= new
        pending += new
    return found
