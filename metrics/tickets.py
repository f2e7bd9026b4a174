"""Score the handling of a ticket: one half for the team, one half for the details."""

from lmpipe.metrics import exact_match, field_accuracy, weighted

ticket_score = weighted(
    (0.5, exact_match("team")),
    (0.5, field_accuracy("order", "product", "amount")),
)
