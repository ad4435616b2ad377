"""Whether experts know domains: how many tokens and sequences of a domain go first to the expert that stands for it."""
from __future__ import annotations

from typing import Any, Iterable, NamedTuple

from .._lazy import np
from ..grad_mode import no_grad
from ..trainer.columns import unwrap


class DomainCounts:
    """First choices of routers by layer, domain and expert: tokens (layers, domains, experts), and `sequences` of the same shape, in which
    a sequence counts once, for the expert that most of its tokens choose first (the lower one of equals)."""

    def __init__(self, layers: int, domains: int, experts: int) -> None:
        self.tokens = np.zeros((layers, domains, experts), np.int64)
        self.sequences = np.zeros((layers, domains, experts), np.int64)

    def add(self, choices: Any, domain: int) -> None:
        """choices: (layers, tokens of one sequence), the first choice of each."""
        table = np.asarray(choices)
        for layer, row in enumerate(table):
            votes = np.bincount(row, minlength=self.tokens.shape[2])
            self.tokens[layer, domain] += votes
            self.sequences[layer, domain, int(votes.argmax())] += 1


class RouterAccuracy(NamedTuple):
    """layer: the one whose assignment fits the training data best; experts: of each domain there; the shares are of held-out data."""

    layer: int
    experts: list[int]
    tokens: float
    sequences: float
    tokens_by_layer: list[float]
    sequences_by_layer: list[float]
    sequences_by_domain: list[float]


def count_domains(model: Any, rows: Iterable[Any], domains: int, batch_size: int = 16) -> DomainCounts:
    """Lets a model read labelled texts and counts where its routers send their tokens first.

    rows: dicts with "input_ids", a list of ids, and "domain", 0 to domains - 1. The first choice is the expert with the largest logit.
    Errors: TypeError for a model without experts; ValueError for an unknown domain and no rows.
    """
    base, items = unwrap(model), list(rows)
    base.routing  # a model without experts says so here
    if not items:
        raise ValueError("[count_domains] rows: expected at least one")
    was_training = base.training
    base.eval()
    counts: "DomainCounts | None" = None
    try:
        with no_grad():
            for start in range(0, len(items), batch_size):
                part = items[start : start + batch_size]
                width = max(len(row["input_ids"]) for row in part)
                ids, mask = np.zeros((len(part), width), np.int64), np.zeros((len(part), width), np.int64)
                for i, row in enumerate(part):
                    if not 0 <= int(row["domain"]) < domains:
                        raise ValueError(f"[count_domains] domain: expected 0 to {domains - 1}, got {row['domain']}")
                    ids[i, : len(row["input_ids"])], mask[i, : len(row["input_ids"])] = row["input_ids"], 1
                logits = base(input_ids=ids, attention_mask=mask, output_router_logits=True, use_cache=False).router_logits
                first = np.stack([np.asarray(t).argmax(-1).reshape(len(part), width) for t in logits])
                if counts is None:
                    counts = DomainCounts(len(logits), domains, logits[0].shape[-1])
                for i, row in enumerate(part):
                    if mask[i].any():
                        counts.add(first[:, i, : int(mask[i].sum())], int(row["domain"]))
    finally:
        base.train(was_training)
    assert counts is not None
    return counts


def assign_experts(counts: Any) -> list[int]:
    """The expert of each domain, no expert of two, such that most tokens go where they belong (Hungarian method).

    Shapes: counts (domains, experts) with at least as many experts as domains. Errors: ValueError for other shapes.
    """
    table = np.asarray(counts, np.float64)
    if table.ndim != 2 or table.shape[0] > table.shape[1] or not np.isfinite(table).all():
        raise ValueError(f"[assign_experts] counts: expected (domains, experts) with as many experts as domains or more, got {table.shape}")
    rows, columns = table.shape
    cost = table.max(initial=0) - table
    # Shortest augmenting paths with potentials, one row after another; row and column 0 are outside of the matrix.
    u, v, match = np.zeros(rows + 1), np.zeros(columns + 1), np.zeros(columns + 1, np.int64)
    for row in range(1, rows + 1):
        match[0], at = row, 0
        least, way, used = np.full(columns + 1, np.inf), np.zeros(columns + 1, np.int64), np.zeros(columns + 1, bool)
        while match[at]:
            used[at] = True
            here = match[at]
            slack = cost[here - 1] - u[here] - v[1:]
            better = ~used[1:] & (slack < least[1:])
            least[1:][better], way[1:][better] = slack[better], at
            free = np.flatnonzero(~used[1:]) + 1
            best = int(free[least[free].argmin()])
            delta = least[best]
            u[match[used]] += delta
            v[used] -= delta
            least[~used] -= delta
            at = best
        while at:
            match[at] = match[way[at]]
            at = int(way[at])
    found = [0] * rows
    for column in range(1, columns + 1):
        if match[column]:
            found[match[column] - 1] = column - 1
    return found


def router_accuracy(training: DomainCounts, held_out: DomainCounts) -> RouterAccuracy:
    """The share of held-out tokens and sequences whose first choice is their domain's expert; experts are assigned by the training tokens.

    Each domain weighs as much as its tokens and sequences do. Errors: ValueError for counts of different shapes or fewer experts than domains.
    """
    if training.tokens.shape != held_out.tokens.shape:
        raise ValueError(f"[router_accuracy] expected counts of one shape, got {training.tokens.shape} and {held_out.tokens.shape}")

    def share(table: Any, experts: list[int]) -> float:
        return float(sum(table[d, e] for d, e in enumerate(experts)) / max(1, int(table.sum())))

    # Domains of different sizes count alike when experts are assigned.
    assigned = [assign_experts(t / np.maximum(t.sum(1, keepdims=True), 1)) for t in training.tokens]
    fit = [share(t, e) for t, e in zip(training.tokens, assigned)]
    layer = int(np.argmax(fit))
    sequences = held_out.sequences[layer]
    return RouterAccuracy(
        layer, assigned[layer], share(held_out.tokens[layer], assigned[layer]), share(sequences, assigned[layer]),
        [share(t, e) for t, e in zip(held_out.tokens, assigned)], [share(t, e) for t, e in zip(held_out.sequences, assigned)],
        [float(sequences[d, e] / max(1, int(sequences[d].sum()))) for d, e in enumerate(assigned[layer])])
