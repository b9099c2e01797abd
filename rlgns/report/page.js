// Unpacks plotly (most of the file), then draws each figure from the JSON beside it. Uses no network and no storage.
"use strict";

const CONFIG = {responsive: true, displayModeBar: false, showTips: false};

async function unpack(id) {
  const packed = Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

// Paper is narrower than a screen: a view box makes the drawing shrink to fit, so that it is not cut off.
function addViewBoxes(chart) {
  for (const svg of chart.querySelectorAll("svg.main-svg")) {
    const {width, height} = chart._fullLayout;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  }
}

async function draw(chart, figure) {
  const layout = {...figure.layout};
  if (chart.clientWidth < 480) layout.font = {...layout.font, size: 11};
  await Plotly.react(chart, figure.data, layout, CONFIG);
  addViewBoxes(chart);
  if (!chart.hasViewBoxes) {
    chart.hasViewBoxes = true;
    chart.on("plotly_afterplot", () => addViewBoxes(chart));
  }
}

async function drawWithin(element) {
  for (const chart of element.querySelectorAll(".chart[data-figure]:not(.js-plotly-plot)")) {
    const folded = chart.closest("details:not([open])");
    if (!folded) await draw(chart, JSON.parse(document.getElementById(chart.dataset.figure).textContent));
  }
}

(async () => {
  try {
    const script = document.createElement("script");
    script.textContent = await unpack("plotly");
    document.head.append(script);
    if (!window.Plotly) throw new Error("plotly did not load");
  } catch (error) {
    document.getElementById("failure").hidden = false;
    return;
  }
  for (const folded of document.querySelectorAll("details.run")) {
    folded.addEventListener("toggle", () => drawWithin(folded));
  }
  if (document.getElementById("planner-box")) startPlanner(JSON.parse(document.getElementById("planner-data").textContent));
  await drawWithin(document);
  document.documentElement.dataset.drawn = "yes";
})();
