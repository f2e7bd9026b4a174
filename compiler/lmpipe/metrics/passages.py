"""Metrics of what was retrieved or cited: recall and precision of the ids of passages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lmpipe.errors import MetricError
from lmpipe.foundation.shorten import short_repr
from lmpipe.metrics.field_metric import FieldMetric


def passage_recall(field: str = "passages", *, gold: str | None = None) -> FieldMetric:
    """Score the share of the gold passages that are among those of the prediction.

    Args:
        field: the prediction's field with passages, citations or ids.
        gold: the example's field with the ids of the gold passages, if it has another name.
    """
    return FieldMetric("passage_recall", (field,), gold, _recall)


def passage_precision(field: str = "passages", *, gold: str | None = None) -> FieldMetric:
    """Score the share of the prediction's passages that are gold; 1 if it has none.

    Args:
        field: the prediction's field with passages, citations or ids.
        gold: the example's field with the ids of the gold passages, if it has another name.
    """
    return FieldMetric("passage_precision", (field,), gold, _precision)


def _recall(gold: Any, predicted: Any) -> tuple[float, str]:
    wanted, found = _ids(gold), _ids(predicted)
    missing = [name for name in wanted if name not in found]
    comment = f"{', '.join(missing)} not found" if missing else "all were found"
    return _share(len(wanted) - len(missing), len(wanted)), comment


def _precision(gold: Any, predicted: Any) -> tuple[float, str]:
    wanted, found = _ids(gold), _ids(predicted)
    other = [name for name in found if name not in wanted]
    comment = f"{', '.join(other)} not wanted" if other else "all are wanted"
    return _share(len(found) - len(other), len(found)), comment


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _ids(value: Any) -> list[str]:
    """The ids in a value, each once, in order."""
    items = [value] if isinstance(value, str | int | Mapping) else value
    if not isinstance(items, Iterable):
        items = [items]
    return list(dict.fromkeys(map(_id, items)))


def _id(item: Any) -> str:
    found = item.get("id") if isinstance(item, Mapping) else getattr(item, "id", item)
    if isinstance(found, str | int):
        return str(found)
    raise MetricError(f"{short_repr(item, 100)} has no id: give passages, citations or ids")
