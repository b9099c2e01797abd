// The planner: drag a batch size, enter machines and price, and read steps, observations, time and cost. It computes the
// trade-off S = S_min (1 + B_crit / B), E = E_min (1 + B / B_crit); a test compares it with a plain loop in Python.
"use strict";

const stepsAt = (goal, batch) => goal.min_steps * (1 + goal.critical_batch / batch);
const observationsAt = (goal, batch) => goal.min_observations * (1 + batch / goal.critical_batch);

// A batch is spread over as many machines as it keeps busy, each of which plays `rate` observations per second. One that
// does not keep a machine busy plays proportionally fewer.
function plan(goal, batch, inputs) {
  const machines = Math.max(1, Math.min(inputs.machines, Math.floor(batch / inputs.share + 1e-9)));
  const observations = observationsAt(goal, batch);
  const seconds = observations / (machines * inputs.rate * Math.min(1, batch / inputs.share));
  const cost = (machines * seconds / 3600) * inputs.price;
  return {batch, machines, steps: stepsAt(goal, batch), observations, seconds, cost};
}

function rounded(value, digits = 2) {
  if (!Number.isFinite(value)) return "-";
  const number = Number(value.toPrecision(digits));
  const decimals = number === 0 ? 0 : Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(number))));
  return number.toLocaleString("en-US", {minimumFractionDigits: decimals, maximumFractionDigits: decimals});
}

const count = (value) => Math.round(value).toLocaleString("en-US");
const times = (value) => `${rounded(value, value > 1 && value < 1.095 ? 3 : 2)}x`;
const plural = (number, one) => `${count(number)} ${one}${number === 1 ? "" : "s"}`;

function short(value) {
  for (const [unit, name] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= unit * 0.9995) return `${Number((value / unit).toPrecision(3))}${name}`;
  }
  return count(value);
}

function duration(seconds) {
  if (seconds < 99.5) return `${rounded(seconds, 2)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
  const hours = Math.round(seconds / 3600);
  return `${count(Math.floor(hours / 24))} d ${hours % 24} h`;
}

const money = (value) => value < 1000
  ? value.toLocaleString("en-US", {minimumFractionDigits: 2, maximumFractionDigits: 2}) : rounded(value, 4);

// Recommends the fastest batch that costs at most twice the least possible: the critical batch, on as many machines as
// that keeps busy.
function advice(goal, inputs) {
  const largest = inputs.machines * inputs.share;
  const batch = Math.min(largest, Math.max(inputs.share, Math.floor(goal.critical_batch / inputs.share) * inputs.share));
  const sizes = [inputs.share, batch, batch < largest ? largest : 2 * batch];
  const [one, chosen, all] = [inputs.share, batch, largest].map((size) => plan(goal, size, inputs));
  const and_cost = inputs.price > 0 ? " and the cost" : "";
  const on = chosen.machines === inputs.machines
    ? (inputs.machines === 1 ? "the one machine" : `all ${count(inputs.machines)} machines`)
    : `${count(chosen.machines)} of the ${count(inputs.machines)} machines`;
  let text = `Use a batch of ${count(batch)} on ${on}: ${goal.score} in ${duration(chosen.seconds)}`;
  if (inputs.price > 0) text += ` at a cost of ${money(chosen.cost)}`;
  if (chosen.machines > 1) {
    text += `, which is ${times(one.seconds / chosen.seconds)} as fast as one machine with `;
    text += `${times(chosen.observations / one.observations)} the observations${and_cost}`;
  }
  text += ".";
  let more = "";
  if (chosen.machines < inputs.machines) {
    more = `All ${count(inputs.machines)} would be ${times(chosen.seconds / all.seconds)} as fast as that with `
      + `${times(all.observations / chosen.observations)} the observations${and_cost}: beyond the critical batch of `
      + `${rounded(goal.critical_batch)}, training takes more than twice the fewest possible observations.`;
  } else {
    const twice = plan(goal, 2 * batch, {...inputs, machines: 2 * inputs.machines});
    more = `Twice the machines would be ${times(chosen.seconds / twice.seconds)} as fast with `
      + `${times(twice.observations / chosen.observations)} the observations${and_cost}.`;
  }
  const outside = outsideOf(goal, sizes);
  if (outside) more += ` ${outside}`;
  return [text, more];
}

// Says which batches the fit was not measured at; empty where it covers all.
function outsideOf(goal, batches) {
  const found = [...new Set(batches)].filter((batch) => batch < goal.smallest_batch || batch > goal.largest_batch);
  if (!found.length) return "";
  const names = `${found.length > 1 ? "Batches" : "A batch"} of ${found.map(count).join(" and ")}`;
  return `${names} ${found.length > 1 ? "are" : "is"} outside the measured ${count(goal.smallest_batch)} to `
    + `${count(goal.largest_batch)}.`;
}

function chartOf(goal, now) {
  const [low, high] = [Math.min(goal.smallest_batch, goal.critical_batch) / 2, Math.max(goal.largest_batch, goal.critical_batch) * 2];
  const grid = Array.from({length: 81}, (_, i) => low * (high / low) ** (i / 80));
  const hover = "batch %{customdata}<br>%{x:,.3~r} steps<br>%{y:,.3~r} observations";
  const at = (batches, more) => ({
    x: batches.map((b) => stepsAt(goal, b)), y: batches.map((b) => observationsAt(goal, b)),
    customdata: batches.map(count), hovertemplate: hover, ...more,
  });
  const reached = goal.points.filter((point) => point[1] !== null && point[2] !== null);
  const axis = (title) => ({type: "log", title: {text: title, standoff: 8}, automargin: true, zeroline: false, tickformat: "~s",
                            dtick: "D2", minor: {}});
  const data = [
    at(grid, {mode: "lines", name: "fit", line: {color: "#3b82d8", width: 2, dash: goal.identified ? "solid" : "dash"}}),
    {x: reached.map((p) => p[1]), y: reached.map((p) => p[2]), customdata: reached.map((p) => count(p[0])), hovertemplate: hover,
     mode: "markers", name: "measured", marker: {color: "#3b82d8", size: 8}},
    at([goal.critical_batch], {mode: "markers", name: "critical batch",
       marker: {color: "#a05fc4", size: 12, symbol: "diamond"}}),
    at([now], {mode: "markers", name: "chosen batch",
       marker: {color: "#d06f1f", size: 16, symbol: "circle-open", line: {width: 4}}}),
  ];
  const clear = "rgba(0,0,0,0)";
  const least = (title, axisOfValue, value) => ({type: "line", layer: "below", line: {color: "#858b95", width: 1, dash: "dot"},
    ...(axisOfValue === "x" ? {x0: value, x1: value, yref: "paper", y0: 0, y1: 1} : {y0: value, y1: value, xref: "paper", x0: 0, x1: 1})});
  const layout = {
    height: 400, paper_bgcolor: clear, plot_bgcolor: clear, font: {family: "system-ui, sans-serif", size: 12.5},
    margin: {l: 52, r: 14, t: 10, b: 44}, hovermode: "closest", showlegend: true,
    legend: {orientation: "h", y: 1.02, yanchor: "bottom", x: 0},
    xaxis: axis("optimizer steps"), yaxis: axis("observations"),
    shapes: [least("fewest steps", "x", goal.min_steps), least("fewest observations", "y", goal.min_observations)],
  };
  return {data, layout};
}

function startPlanner(goals) {
  const part = (name) => document.getElementById(`x-${name}`);
  const number = (name, least) => Math.min(1e9, Math.max(least, Number(part(name).value) || 0));
  const goalNow = () => goals[Number(part("goal").value)];
  const range = (goal) => [goal.smallest_batch / 2, goal.largest_batch * 4];
  const batchNow = (goal) => {
    const [low, high] = range(goal);
    return Math.round(low * (high / low) ** (Number(part("batch").value) / 1000));
  };
  const moveTo = (goal, batch) => {
    const [low, high] = range(goal);
    part("batch").value = Math.round(1000 * Math.log(batch / low) / Math.log(high / low));
  };

  const show = () => {
    const goal = goalNow();
    const inputs = {machines: Math.round(number("machines", 1)), rate: number("rate", 1e-9), price: number("price", 0),
                    share: number("share", 1)};
    const batch = batchNow(goal);
    const [one, now] = [plan(goal, inputs.share, inputs), plan(goal, batch, inputs)];
    const unknown = ["-", ""];
    part("batch-text").textContent = count(batch);
    part("batch").setAttribute("aria-valuetext", `${count(batch)} observations`);
    const tiles = {
      time: [duration(now.seconds), `on ${plural(now.machines, "machine")} of ${count(inputs.machines)}`],
      observations: [short(now.observations), `in ${plural(Math.round(now.steps), "optimizer step")}`],
      cost: [money(now.cost), `${times(now.observations / goal.min_observations)} the least possible`],
      speed: [times(one.seconds / now.seconds), `over one machine with a batch of ${count(inputs.share)}`],
    };
    for (const [name, known] of Object.entries(tiles)) {
      const [value, note] = goal.identified ? known : unknown;
      part(name).textContent = value;
      part(`${name}-note`).textContent = note;
    }
    [part("advice-head").textContent, part("advice-more").textContent] = goal.identified ? advice(goal, inputs)
      : ["No advice for this goal.", `The critical batch is ${goal.reason}. The dashed line is the best fit nevertheless.`];
    part("note").textContent = goal.identified
      ? `Critical batch: ${goal.critical_batch_text} observations. Dotted lines: the fewest possible steps and observations.`
        + ` ${outsideOf(goal, [batch])}` : "";
    return [goal, batch];
  };
  const update = () => {
    const [goal, batch] = show();
    const point = {x: [[stepsAt(goal, batch)]], y: [[observationsAt(goal, batch)]], customdata: [[[count(batch)]]]};
    if (part("chart").data) Plotly.restyle(part("chart"), point, [3]);
  };
  const choose = async () => {
    const goal = goalNow();
    moveTo(goal, goal.critical_batch);
    const [, batch] = show();
    await draw(part("chart"), chartOf(goal, batch));
  };
  for (const name of ["batch", "machines", "rate", "price", "share"]) part(name).addEventListener("input", update);
  part("goal").addEventListener("change", choose);
  return choose();
}
