"""The page around the figures: one file that opens from disk with no network, light or dark, wide or narrow."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from typing import Any

from rlgns import numbers
from rlgns.folder import plain
from rlgns.report.data import RunData
from rlgns.report.figures import Figure, run_figures, time_use

POINTS_PER_PAGE = 12_000
"""Points per line, shared by all runs of a page, so that many games still make a small file."""

PROXY = (
    "The critical batch is predicted from the noise scale B_simple = tr(Sigma) / |G|^2, which is a proxy: on Atari "
    "McCandlish et al. 2018 measured critical batches 1.3 to 5.7 times smaller. A sweep over batch sizes calibrates it."
)

STYLE = """
:root { color-scheme: light dark; --back: #ffffff; --text: #1c1f24; --soft: #5c6470; --rule: #dfe3e8; --link: #1f66b8 }
@media (prefers-color-scheme: dark) {
  :root { --back: #14171b; --text: #e6e8eb; --soft: #a2a9b3; --rule: #31363e; --link: #7db4f0 }
}
body { margin: 0 auto; padding: 1.2rem; max-width: 62rem; background: var(--back); color: var(--text);
       font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.5rem; margin: 0 0 .2rem } h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; padding-top: .8rem;
     border-top: 1px solid var(--rule) } h3 { font-size: 1rem; margin: 1.6rem 0 .2rem }
p, figcaption { margin: .2rem 0 .5rem } .soft, figcaption, th, footer { color: var(--soft) }
.advice { font-weight: 600 }
a { color: var(--link) } figure { margin: 0 } .chart { width: 100% }
.wide { overflow-x: auto } table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--rule);
         font-weight: 400; overflow-wrap: anywhere }
.facts th { width: 11rem } .overview td, .overview thead th { white-space: nowrap }
.overview td:not(:first-child) { font-variant-numeric: tabular-nums }
footer { margin-top: 2rem; font-size: .85rem }
.js-plotly-plot text { fill: var(--text) !important }
.js-plotly-plot .gridlayer path { stroke: var(--rule) !important }
.js-plotly-plot .hoverlayer rect.bg, .js-plotly-plot .hoverlayer .hovertext path { fill: var(--back) !important;
     stroke: var(--rule) !important }
@media (max-width: 30rem) { body { padding: .8rem } .facts th { width: 7.5rem } }
"""

# Unpacks plotly (which would be most of the file), then draws each figure from the JSON beside it.
SCRIPT = """
(async () => {
  try {
    const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), c => c.charCodeAt(0));
    const text = new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
    const script = document.createElement("script");
    script.textContent = await text;
    document.head.append(script);
    for (const chart of document.querySelectorAll(".chart")) {
      const figure = JSON.parse(chart.nextElementSibling.textContent);
      await Plotly.newPlot(chart, figure.data, figure.layout, {responsive: true, displayModeBar: false});
    }
  } catch (error) {
    document.getElementById("failure").hidden = false;
  }
})();
"""


def page(runs: Sequence[RunData]) -> str:
    """Returns the whole page for these runs."""
    several = len(runs) > 1
    title = "rlgns: " + (f"{len(runs)} runs" if several else runs[0].label if runs else "no runs")
    most = max(200, min(2000, POINTS_PER_PAGE // max(1, len(runs))))
    parts = [f"<h1>{escape(title)}</h1>", f'<p class="soft">{escape(PROXY)}</p>']
    parts.append(
        '<p id="failure" hidden>The charts need a browser of 2023 or later with scripts switched on; '
        "the sentences and the downloads below have the numbers.</p>"
    )
    if several:
        parts.append(_overview(runs))
    for number, run in enumerate(runs, start=1):
        parts.append(f'<section aria-labelledby="run-{number}"><h2 id="run-{number}">{escape(run.label)}</h2>')
        parts.append(f'<p class="advice">{escape(_first_upper(run.advice.sentence(interval=True)))}.</p>')
        parts.append(_facts(run))
        parts += [_figure(figure, f"run-{number}-{figure.name}", run.label) for figure in run_figures(run, most)]
        parts.append("</section>")
    parts.append(f"<section>{_figure(time_use(runs), 'time', 'all')}</section>")
    parts.append(
        "<footer>Made by rlgns. Scores are raw scores of full games; all batch sizes are in observations.</footer>"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="icon" href="data:,"><style>{STYLE}</style></head>\n<body><main>\n'
        + "\n".join(parts)
        + f'\n</main>\n<script id="plotly" type="text/plain">{_packed_plotly()}</script>\n<script>{SCRIPT}</script>\n'
        "</body></html>\n"
    )


def final_figures(run: RunData) -> dict[str, str]:
    """Returns what a run came to, for people: name and text."""
    last = run.last
    high = last.get("noise/scale_high") if last.get("noise/resolved") else None
    critical = (last.get(f"critical_batch/{name}") for name in ("predicted", "low", "high"))
    return {
        "observations": numbers.count(last.get("observations")),
        "score": numbers.score(last.get("score_mean")),
        "human-normalised": numbers.percent(last.get("human_normalised_score")),
        "noise scale": numbers.interval(last.get("noise/scale"), last.get("noise/scale_low"), high),
        "critical batch": numbers.interval(*critical),
        "batch in use": numbers.count(last.get("batch_observations")),
    }


def _overview(runs: Sequence[RunData]) -> str:
    names = list(final_figures(runs[0]))
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in ("run", *names))
    lines = [
        f'<tr><th scope="row"><a href="#run-{number}">{escape(run.label)}</a></th>'
        + "".join(f"<td>{escape(value)}</td>" for value in final_figures(run).values())
        + "</tr>"
        for number, run in enumerate(runs, start=1)
    ]
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f'<div class="wide"><table class="overview">{body}</table></div>'


def _facts(run: RunData) -> str:
    last, about = run.last, run.about
    facts = {
        "game": about.get("game", run.label),
        "protocol": _words(about.get("protocol") or _get(run.config, "env", "protocol")),
        "seed": _get(run.config, "run", "seed"),
        "hardware": _words(about.get("hardware")),
        "versions": _words(about.get("versions")),
        "started": about.get("created"),
        "code": _words(about.get("git")),
        "time": numbers.duration(last.get("seconds")),
        "observations/s": numbers.count(last.get("throughput/observations_per_s")),
        **final_figures(run),
        "critical batch, run average": numbers.rounded(last.get("critical_batch/run_average")),
        "cost of measuring": f"{numbers.percent(last.get('noise/overhead_fraction'))} of wall-clock time",
        "in hours": _first_upper(run.advice.hours(last.get("seconds") or 0.0)),
    }
    lines = [
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(str(value))}</td></tr>'
        for name, value in facts.items()
        if value not in (None, "")
    ]
    return f'<table class="facts"><caption hidden>What was run and what it came to</caption>{"".join(lines)}</table>'


def _figure(figure: Figure, anchor: str, label: str) -> str:
    head = f'<h3 id="{anchor}">{escape(figure.title)}</h3>'
    if not figure.traces:
        return f"{head}<p>{escape(figure.sentence)}</p>"
    layout = figure.layout | {"height": figure.height}
    content = json.dumps(plain({"data": figure.traces, "layout": layout}), separators=(",", ":")).replace("</", "<\\/")
    name = f"{_file_name(label)}-{figure.name}.csv"
    link = f'<a download="{name}" href="data:text/csv;base64,{_csv(figure)}">Download CSV</a>'
    return (
        f'{head}<figure aria-labelledby="{anchor}"><figcaption>{escape(figure.sentence)} {link}</figcaption>'
        f'<div class="chart" role="img" aria-label="{escape(f"{figure.title}. {figure.sentence}")}" '
        f'style="height:{figure.height}px"></div><script type="application/json">{content}</script></figure>'
    )


def _csv(figure: Figure) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(figure.header)
    writer.writerows(figure.table)
    return base64.b64encode(text.getvalue().encode()).decode()


@cache
def _packed_plotly() -> str:
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def _words(value: Any) -> str:
    """A nested value on one line: 'torch 2.13.0, ray 2.60.0'."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(entry)}" for name, entry in value.items() if entry not in (None, ""))
    if isinstance(value, list | tuple):
        return ", ".join(_words(entry) for entry in value)
    return "" if value is None else str(value)


def _get(tree: Mapping[str, Any], *path: str) -> Any:
    for name in path:
        tree = tree.get(name, {}) if isinstance(tree, Mapping) else {}
    return None if tree == {} else tree


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _file_name(label: str) -> str:
    return "".join(character if character.isalnum() else "-" for character in label)
