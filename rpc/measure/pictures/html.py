"""A measurement as one HTML file that needs nothing else: no script, no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from autoglm_tvm.rpc.measure.pictures.charts import charts_of
from autoglm_tvm.rpc.measure.pictures.facts import (
    Row,
    circumstance_rows,
    latency_rows,
    milliseconds,
    sustained_rows,
)
from autoglm_tvm.rpc.measure.pictures.svg import WIDTH, draw
from autoglm_tvm.rpc.measure.profile import Profile
from autoglm_tvm.rpc.measure.result import BenchResult

_STYLE = f"""
body {{ font: 14px/1.5 system-ui, sans-serif; color: #222; background: #fff;
        max-width: {WIDTH}px; margin: 24px auto; padding: 0 16px; }}
h1 {{ font-size: 22px; margin-bottom: 0; }} h2 {{ font-size: 17px; margin: 28px 0 6px; }}
p.sub {{ color: #666; margin-top: 2px; }}
table {{ border-collapse: collapse; width: 100%; }}
td, th {{ padding: 3px 12px 3px 0; text-align: left; vertical-align: top;
          border-bottom: 1px solid #eee; }}
th {{ font-weight: 600; white-space: nowrap; }}
td.number {{ text-align: right; white-space: nowrap; }}
td.function {{ overflow-wrap: anywhere; width: 30%; }}
table.facts th {{ width: 130px; }}
.note {{ background: #fff5dc; border-left: 4px solid #E69F00; padding: 6px 12px; margin: 6px 0; }}
svg {{ width: 100%; margin-top: 18px; display: block; }}
svg text {{ font: 12px system-ui, sans-serif; fill: #333; }}
svg text.title {{ font-size: 14px; font-weight: 600; }}
svg .end {{ text-anchor: end; }} svg .middle {{ text-anchor: middle; }}
svg .grid {{ stroke: #e4e4e4; }} svg .axis {{ stroke: #555; }}
svg .mark {{ stroke: #555; stroke-dasharray: 4 3; }}
"""


def write_html(result: BenchResult, path: Path) -> None:
    """Write the page.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    path.write_text(html_of(result), encoding="utf-8")


def html_of(result: BenchResult) -> str:
    """Return the page."""
    title = f"{result.bundle} on {result.where}"
    p50 = milliseconds(result.latency.p50)
    parts = [
        f"<h1>{escape(title)}: {p50}</h1>",
        f'<p class="sub">autoglm-tvm bench, {escape(result.started)}</p>',
        *(f'<p class="note">{escape(note)}</p>' for note in result.notes),
        "<h2>Latency</h2>",
        _table(latency_rows(result.latency)),
        "<h2>Measured under</h2>",
        _table(circumstance_rows(result)),
    ]
    if result.sustained is not None:
        parts += ["<h2>Sustained</h2>", _table(sustained_rows(result.sustained))]
    parts += [draw(chart) for chart in charts_of(result)]
    if result.profile is not None:
        parts += ["<h2>Kernels</h2>", _profile(result.profile)]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _table(rows: Sequence[Row]) -> str:
    lines = (f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows)
    return f'<table class="facts">{"".join(lines)}</table>'


def _profile(profile: Profile) -> str:
    head = "<tr><th>kernel</th><th>share</th><th>time</th><th>calls</th><th>operators</th>"
    lines = [f"{head}<th>schedule</th></tr>"]
    for kernel in profile.kernels:
        lines.append(
            f'<tr><td class="function">{escape(kernel.function)}</td>'
            f'<td class="number">{kernel.share:.1%}</td>'
            f'<td class="number">{milliseconds(kernel.seconds)}</td>'
            f'<td class="number">{kernel.calls}</td>'
            f"<td>{escape(' + '.join(kernel.operators))}</td>"
            f"<td>{escape(kernel.schedule)}</td></tr>"
        )
    between = (
        f"All kernels {milliseconds(profile.kernel_seconds)}; between them, timer included, "
        f"{milliseconds(profile.other_seconds)}. Medians of {profile.runs} runs."
    )
    return f"<table>{''.join(lines)}</table><p class='sub'>{escape(between)}</p>"
