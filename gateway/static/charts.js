// Three small charts, drawn as SVG: nothing is loaded, nothing is animated, all of it has a name.
"use strict";

const SVG = "http://www.w3.org/2000/svg";

function svg(name, attributes, ...inner) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...inner);
  return node;
}

function frame(place, width, height, label, parts) {
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img",
    "aria-label": label, preserveAspectRatio: "none" }, ...parts);
  document.getElementById(place).replaceChildren(chart);
}

// A line over time, filled to its ground.
function drawLine(place, values, label) {
  const width = 240, height = 44, top = Math.max(1, ...values);
  const step = width / Math.max(1, values.length - 1);
  const points = values.map((v, i) => `${(i * step).toFixed(1)},${(height - (v / top) * (height - 4)).toFixed(1)}`);
  frame(place, width, height, label, [
    svg("polygon", { points: `0,${height} ${points.join(" ")} ${width},${height}`, fill: "var(--own)", opacity: ".15" }),
    svg("polyline", { points: points.join(" "), fill: "none", stroke: "var(--own)", "stroke-width": "1.5",
      "vector-effect": "non-scaling-stroke", "stroke-linejoin": "round" }),
  ]);
}

// Shares of a whole, side by side; [word, count, colour].
function drawShares(place, shares, label) {
  const width = 240, height = 16, whole = shares.reduce((sum, share) => sum + share[1], 0);
  let at = 0;
  const parts = [svg("rect", { x: 0, y: 0, width, height, fill: "var(--line)" })];
  for (const [, count, colour] of shares) {
    if (!count) continue;
    const wide = Math.max(2, (count / whole) * width);
    parts.push(svg("rect", { x: at.toFixed(1), y: 0, width: Math.max(1, wide - 1).toFixed(1), height, fill: colour }));
    at += wide;
  }
  frame(place, Math.max(width, at), height, label, parts);
}

// Bars of a distribution; heights as square roots, so that the rare high scores can be seen.
function drawBars(place, counts, label) {
  const width = 240, height = 72, top = Math.sqrt(Math.max(1, ...counts)), step = width / counts.length;
  frame(place, width, height, label, counts.map((count, i) => {
    const tall = count ? Math.max(2, (Math.sqrt(count) / top) * (height - 2)) : 1;
    return svg("rect", { x: (i * step + 1).toFixed(1), y: (height - tall).toFixed(1), width: (step - 2).toFixed(1),
      height: tall.toFixed(1), fill: count ? "var(--own)" : "var(--line)" },
    svg("title", {}, `${i * 50}–${i * 50 + 50}: ${count}`));
  }));
}
