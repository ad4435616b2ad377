"""Routers made visible: a text display while training, and a heat map of what each expert reads."""
from __future__ import annotations

import sys
from typing import Any, Sequence

from .._lazy import np
from ..trainer.callbacks import TrainerCallback
from ..trainer.columns import unwrap
from .log import router_statistics

_BLOCKS = " ▁▂▃▄▅▆▇█"


def loads_as_text(loads: Any) -> list[str]:
    """One line a layer: a bar for each expert, a full block for twice the mean load or more, a dot for no token; entropy and MaxVio.

    Shapes: loads (layers, experts).
    """
    lines = []
    for layer, row in enumerate(np.atleast_2d(np.asarray(loads, np.float64))):
        mean = max(float(row.mean()), 1e-9)
        bars = "".join("·" if n == 0 else _BLOCKS[min(8, max(1, round(4 * n / mean)))] for n in row)
        stats = router_statistics(row)
        dead = f"  dead {stats['dead_experts']}" if stats["dead_experts"] else ""
        lines.append(f"layer {layer:2d} |{bars}| entropy {stats['load_entropy']:.3f}  MaxVio {stats['max_violation']:.2f}{dead}")
    return lines


class RouterMonitor(TrainerCallback):
    """Writes the load of every expert and the routers' entropies at each logging step; on a terminal the display stays in place.

    file: where to (sys.stderr); every: 1 for each logging step, 2 for every other, ...; in_place: None for "if the file is a terminal".
    history: (step, loads (layers, experts)) of each display, for pictures.
    Errors: TypeError at the start of training for a model without experts.
    """

    def __init__(self, file: Any = None, every: int = 1, in_place: "bool | None" = None) -> None:
        if every < 1:
            raise ValueError(f"[RouterMonitor] every: expected 1 or more, got {every}")
        self.file, self.every, self.in_place = file, every, in_place
        self.history: list[tuple[int, Any]] = []
        self._last: Any = None
        self._count = self._height = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> Any:
        unwrap(model).set_routing(report=True)
        self._count = self._height = 0

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> Any:
        loads = unwrap(model).router_log.loads
        self._last = None if loads is None else loads.copy()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> Any:
        if self._last is None or not logs or "max_violation" not in logs:
            return
        self._count += 1
        if (self._count - 1) % self.every:
            return
        self.history.append((state.global_step, self._last))
        names = ("token_entropy_loss", "load_entropy_loss", "balance_loss", "z_loss")
        shown = "  ".join(f"{name.removesuffix('_loss')} {logs[name]:.3g}" for name in names if name in logs)
        lines = [f"step {state.global_step}: {logs.get('active_experts', '?')} active  {shown}", *loads_as_text(self._last)]
        file = self.file if self.file is not None else sys.stderr
        in_place = self.in_place if self.in_place is not None else bool(getattr(file, "isatty", lambda: False)())
        if in_place and self._height:
            file.write(f"\x1b[{self._height}A")
        file.write("".join(f"{line}\x1b[K\n" if in_place else f"{line}\n" for line in lines))
        file.flush()
        self._height = len(lines)


def heat_map(counts: Any, path: Any, domains: "Sequence[str] | None" = None, title: str = "share of a domain's tokens by expert") -> None:
    """A picture: for each domain, layers against experts, the share of the domain's tokens that each expert gets first.

    Shapes: counts (layers, domains, experts) of DomainCounts.tokens, or (layers, experts).
    Errors: ImportError without matplotlib (the extra `plot`); ValueError for other shapes.
    """
    table = np.asarray(counts, np.float64)
    if table.ndim == 2:
        table = table[:, None]
    if table.ndim != 3 or 0 in table.shape:
        raise ValueError(f"[heat_map] counts: expected (layers, domains, experts), got {np.shape(counts)}")
    names = list(domains) if domains is not None else [f"domain {i}" for i in range(table.shape[1])] if table.shape[1] > 1 else ["all"]
    if len(names) != table.shape[1]:
        raise ValueError(f"[heat_map] domains: expected {table.shape[1]} names, got {len(names)}")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("[heat_map] expected the package matplotlib (pip install 'tenon-ml[plot]')") from None
    share = table / np.maximum(table.sum(2, keepdims=True), 1)
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(3.2 * columns, (0.3 * table.shape[0] + 1.2) * lines), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    image = None
    for i, axis in enumerate(axes.flat):
        if i >= len(names):
            axis.set_axis_off()
            continue
        image = axis.imshow(share[:, i], aspect="auto", cmap="viridis", vmin=0, vmax=max(float(share.max()), 1e-9), interpolation="nearest")
        axis.set_title(names[i], fontsize=9)
        if i % columns == 0:
            axis.set_ylabel("layer")
        if i >= len(names) - columns:
            axis.set_xlabel("expert")
    figure.colorbar(image, ax=axes, fraction=0.03)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path)
