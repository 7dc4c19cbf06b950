"""What was measured, as Markdown tables, and how it compares with the budgets of the design."""

from __future__ import annotations

from typing import NamedTuple


class Measured(NamedTuple):
    """One regime on one contestant."""

    cpu_ms: float
    cpu_ms_per_mb: float
    messages_per_s: float
    mb_per_s: float
    p50_ms: float
    p99_ms: float
    resumed: float
    lost: int
    complaint: str


class Idle(NamedTuple):
    """Connections held, memory for each over the base, the base, CPU to set one up."""

    held: int
    kib_each: float
    base_mib: float
    cpu_ms_each: float


class Cell(NamedTuple):
    regime: str
    who: str


BUDGETS = (  # what, in which regime, of which figure, at most
    ("CPU per message on a kept connection, ms", "R1", "cpu_ms", 0.40),
    ("CPU per message with a new handshake, ms", "R2", "cpu_ms", 1.6),
    ("CPU per message with a resumed handshake, ms", "R2r", "cpu_ms", 1.2),
    ("CPU per MB of large messages, ms", "R3", "cpu_ms_per_mb", 4.0),
)
DIRECT_THEN = {"R1": 0.05, "R2": 1.19, "R2r": 0.70}
"""What the direct line cost on the machine and in the hour that the budgets come from, CPU in ms a message."""
ADDED_P50_MS, ADDED_P99_MS, IDLE_KIB, CHECKED_MS, SIGNING_MS = 1.0, 5.0, 48.0, 0.6, 1.0


def format_report(
    about: str, words: dict[str, str], cells: dict[Cell, Measured], idle: dict[str, Idle]
) -> str:
    """The whole report, without a heading."""
    rows = [
        "| regime | who | CPU ms/message | CPU ms/MB | messages/s | MB/s | p50 ms | p99 ms | resumed | lost |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    rows += [_row(cell, figures) for cell, figures in cells.items()]
    if idle:
        rows += ["", "| who | idle connections (R4) | KiB PSS each | MiB base | CPU ms to set up one |",
                 "| --- | ---: | ---: | ---: | ---: |"]  # fmt: skip
        rows += [
            f"| {who} | {i.held} | {i.kib_each:.1f} | {i.base_mib:.1f} | {i.cpu_ms_each:.2f} |"
            for who, i in idle.items()
        ]
    explained = [
        f"- {name}: {words[name]}" for name in dict.fromkeys(cell.regime for cell in cells)
    ]
    judged = _judge(cells, idle)
    compared = _compare(cells)
    return "\n".join([about, "", *rows, "", *explained, "", *judged, "", *compared, ""])


def _row(cell: Cell, m: Measured) -> str:
    lost = f"{m.lost}: {m.complaint}" if m.lost else "none"
    return (
        f"| {cell.regime} | {cell.who} | {m.cpu_ms:.3f} | {m.cpu_ms_per_mb:.2f} | "
        f"{m.messages_per_s:.0f} | {m.mb_per_s:.0f} | {m.p50_ms:.2f} | {m.p99_ms:.2f} | "
        f"{m.resumed:.0%} | {lost} |"
    )


def _judge(cells: dict[Cell, Measured], idle: dict[str, Idle]) -> list[str]:
    found = [
        (what, getattr(cells[cell], figure), most)
        for what, regime, figure, most in BUDGETS
        if (cell := Cell(regime, "gatepost")) in cells
    ]
    if added := _added_latency(cells, "R5"):
        found.append(("added latency, p50, ms", added[0], ADDED_P50_MS))
        found.append(("added latency, p99, ms", added[1], ADDED_P99_MS))
    checked, plain = cells.get(Cell("R6", "checked")), cells.get(Cell("R6", "gatepost"))
    if checked and plain:
        added = checked.cpu_ms - plain.cpu_ms
        found.append(("CPU of SPF, DKIM and DMARC per message, ms", added, CHECKED_MS))
    signing, plain = cells.get(Cell("R1", "signing")), cells.get(Cell("R1", "gatepost"))
    if signing and plain:
        added = signing.cpu_ms - plain.cpu_ms
        found.append(("CPU of signing with RSA-2048 per message, ms", added, SIGNING_MS))
    if "gatepost" in idle:
        found.append(("memory per idle connection, KiB", idle["gatepost"].kib_each, IDLE_KIB))
    return [
        f"- {what}: {figure:.2f} of {most:.2f}, {'kept' if figure <= most else 'EXCEEDED'}"
        for what, figure, most in found
    ]


def _compare(cells: dict[Cell, Measured]) -> list[str]:
    """What helps to read the figures: how fast the machine is, and how it is when the relay has work to do."""
    lines = []
    for regime, then in DIRECT_THEN.items():
        if direct := cells.get(Cell(regime, "direct")):
            lines.append(
                f"- {regime}: the direct line took {direct.cpu_ms:.3f} ms, {direct.cpu_ms / then:.2f} times "
                f"what it did when the budgets were set ({then:.2f})"
            )
    if added := _added_latency(cells, "R5f"):
        lines.append(
            f"- added latency at 600 messages a second, ms: p50 {added[0]:.2f}, p99 {added[1]:.2f}"
        )
    return lines


def _added_latency(cells: dict[Cell, Measured], regime: str) -> tuple[float, float] | None:
    """What the relay adds to the direct line, p50 and p99 in ms."""
    ours, direct = cells.get(Cell(regime, "gatepost")), cells.get(Cell(regime, "direct"))
    if ours is None or direct is None:
        return None
    return ours.p50_ms - direct.p50_ms, ours.p99_ms - direct.p99_ms
