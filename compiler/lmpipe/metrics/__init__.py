"""Metrics: `Score`, metrics that compare fields, and metrics that combine others."""

from lmpipe.metrics.combine import CombinedMetric, all_of, any_of, mean_of, weighted
from lmpipe.metrics.field_metric import FieldMetric
from lmpipe.metrics.fields import FieldAccuracy, exact_match, field_accuracy, set_f1
from lmpipe.metrics.fingerprint import metric_fingerprint
from lmpipe.metrics.judges import Agreement, CompleteAndGrounded, Judge, SemanticF1, agreement
from lmpipe.metrics.numbers import numeric_match, parse_number
from lmpipe.metrics.passages import passage_precision, passage_recall
from lmpipe.metrics.score import (
    AnyMetric,
    BoundMetric,
    Metric,
    Score,
    bind_metric,
    call_metric,
    judge,
    metric_calls,
    metric_name,
)
from lmpipe.metrics.text import contains, normalize_text, normalized_match, token_f1
from lmpipe.metrics.typed_gold import with_typed_labels

__all__ = [
    "Agreement",
    "AnyMetric",
    "BoundMetric",
    "CombinedMetric",
    "CompleteAndGrounded",
    "FieldAccuracy",
    "FieldMetric",
    "Judge",
    "Metric",
    "Score",
    "SemanticF1",
    "agreement",
    "all_of",
    "any_of",
    "bind_metric",
    "call_metric",
    "contains",
    "exact_match",
    "field_accuracy",
    "judge",
    "mean_of",
    "metric_calls",
    "metric_fingerprint",
    "metric_name",
    "normalize_text",
    "normalized_match",
    "numeric_match",
    "parse_number",
    "passage_precision",
    "passage_recall",
    "set_f1",
    "token_f1",
    "weighted",
    "with_typed_labels",
]
