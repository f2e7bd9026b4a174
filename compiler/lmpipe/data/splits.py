"""Shuffle, split and compare lists of examples."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, islice, pairwise

from lmpipe.data.example import Example
from lmpipe.data.identity import inputs_digest
from lmpipe.errors import DataError
from lmpipe.foundation.canonical_json import digest
from lmpipe.foundation.checks import check_number, check_numbers
from lmpipe.foundation.plural import plural
from lmpipe.foundation.shorten import short_repr


def split(
    examples: Sequence[Example],
    *,
    sizes: Sequence[int] | None = None,
    fractions: Sequence[float] | None = None,
    seed: int,
) -> tuple[list[Example], ...]:
    """Shuffle examples and divide them into parts; examples beyond the last part are left out.

    Args:
        examples: the examples.
        sizes: the number of examples in each part, 1 or more each.
        fractions: each part's share of the examples, above 0; give either this or `sizes`.
        seed: determines the order; the same seed gives the same parts.

    Raises:
        DataError: if a size or a fraction is out of range, a part would be empty, or the parts
            need more examples than there are.
    """
    if (sizes is None) == (fractions is None):
        raise DataError("split needs either sizes=(…) or fractions=(…)")
    check_number("split", "seed", seed, integer=True, error=DataError)
    total = len(examples)
    if sizes is not None:
        check_numbers("split", "sizes", sizes, minimum=1, integer=True, error=DataError)
        counts = list(sizes)
        if sum(counts) > total:
            raise DataError(f"sizes {tuple(counts)} need {sum(counts)} rows, but there are {total}")
    else:
        counts = _counts(total, fractions or ())
    rows = iter(shuffled(examples, seed))
    return tuple(list(islice(rows, count)) for count in counts)


def _counts(total: int, fractions: Sequence[float]) -> list[int]:
    check_numbers("split", "fractions", fractions, above=0, maximum=1, error=DataError)
    if sum(fractions) > 1 + 1e-9:
        raise DataError(f"fractions {tuple(fractions)} sum to {sum(fractions)}; at most 1")
    ends = [round(sum(fractions[: i + 1]) * total) for i in range(len(fractions))]
    counts = [end - start for start, end in pairwise([0, *ends])]
    if min(counts) < 1:
        raise DataError(
            f"fractions {tuple(fractions)} of {total} rows give parts of {tuple(counts)} rows; "
            "each part needs at least one"
        )
    return counts


def shuffled(examples: Sequence[Example], seed: int) -> list[Example]:
    """Return the examples in an order that depends only on the seed."""
    order = list(examples)
    random.Random(seed).shuffle(order)
    return order


def sample_examples(examples: list[Example], size: int | None, seed: int) -> list[Example]:
    """Draw `size` examples without replacement, in random order; None keeps all, in their order.

    Raises:
        DataError: if there are fewer.
    """
    if size is None:
        return examples
    if size > len(examples):
        raise DataError(f"{size} rows are needed, but there are only {len(examples)}")
    return shuffled(examples, seed)[:size]


def split_off(examples: Sequence[Example], count: int) -> tuple[list[Example], list[Example]]:
    """Split off the first `count` examples; those with the same inputs stay on one side.

    Examples that do not fit with all their duplicates are skipped, so there may be fewer.

    Returns:
        The examples that were split off, and the others, both in the order given and not empty.

    Raises:
        DataError: if there are too few examples, or all have the same inputs.
    """
    if count >= len(examples):
        raise DataError(
            f"{len(examples)} training rows cannot give {count} validation rows and leave any "
            "to learn from: give more rows, or a separate val set"
        )
    keys = [_digest_of_inputs(example) for example in examples]
    sizes = Counter(keys)
    if len(sizes) == 1:
        raise DataError(
            f"all {len(examples)} training rows have the same inputs, so none can be split off "
            "for validation: give other rows, or a separate val set"
        )
    chosen, left = set[str](), count
    for key, size in sizes.items():  # in the order of first occurrence
        if size <= left:
            chosen.add(key)
            left -= size
    if not chosen:
        chosen = {min(sizes, key=sizes.__getitem__)}
    parts: tuple[list[Example], list[Example]] = [], []
    for key, example in zip(keys, examples, strict=True):
        parts[key not in chosen].append(example)
    return parts


def distinct_examples(examples: Sequence[Example]) -> list[Example]:
    """Keep the first of all examples that have the same inputs."""
    return [examples[index] for index in _first_indices(examples).values()]


def check_examples(name: str, examples: Iterable[object]) -> None:
    """Check that all rows that a user gave are examples; `name` is for error messages.

    Raises:
        DataError: if one is not; says how to make one.
    """
    if isinstance(examples, Example | Mapping):
        raise DataError(f"{name}: {short_repr(examples, 100)} is one row; give a list of examples")
    for number, row in enumerate(examples, start=1):
        if isinstance(row, Example):
            continue
        remedy = "give lmpipe.Example(question=…, answer=…).with_inputs('question')"
        if isinstance(row, Mapping):
            remedy = "make it an example: lmpipe.Example(**row).with_inputs('…') with its inputs"
        raise DataError(f"{name}: row {number} is {short_repr(row, 100)}; {remedy}")


def check_not_empty(name: str, examples: Sequence[Example]) -> None:
    """Raise DataError if there are no examples; `name` says which."""
    if not examples:
        raise DataError(f"{name} has no rows; expected at least one")


def check_disjoint(**splits: Sequence[Example]) -> None:
    """Raise DataError if two of the named splits share an example with the same inputs."""
    indices = {name: _first_indices(examples) for name, examples in splits.items()}
    for one, other in combinations(splits, 2):
        shared = [key for key in indices[other] if key in indices[one]]
        if shared:
            first, second = indices[one][shared[0]], indices[other][shared[0]]
            raise DataError(
                f"{one} and {other} share {plural(len(shared), 'row')} with the same inputs; the "
                f"first is row {first + 1} of {one} and row {second + 1} of {other}: "
                f"{short_repr(dict(splits[one][first].inputs))}; remove them from one of the two "
                "(distinct_examples(rows) before split(rows, …) does this)"
            )


def fingerprint(examples: Sequence[Example]) -> str:
    """Hash examples in their order: 64 hexadecimal digits."""
    return digest([example.fingerprint() for example in examples])


def _first_indices(examples: Sequence[Example]) -> dict[str, int]:
    """Map the hash of each example's inputs to the first index where they occur."""
    indices: dict[str, int] = {}
    for index, example in enumerate(examples):
        indices.setdefault(_digest_of_inputs(example), index)
    return indices


def _digest_of_inputs(example: Example) -> str:
    """Hash the inputs of an example."""
    values = example.to_json()
    return inputs_digest({name: values[name] for name in example.inputs})
