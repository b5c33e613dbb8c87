// Bars over time, with uPlot; colours are the page's own, so light and dark look alike.

import { shortNumber } from "./format.js";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const FONT = "12px Inter, system-ui, sans-serif";
const charts = new Map();

/** The steps of an axis that has room for `room` labels: every one, or every 2nd, 3rd, 4th, 6th … */
function everyNth(count, room) {
  return [1, 2, 3, 4, 6, 7, 8, 12, 24].find((step) => count / step <= room) ?? Math.ceil(count / room);
}

function options(host, points, series) {
  const axis = { stroke: colour("--quiet"), font: FONT, ticks: { show: false } };
  return {
    width: host.clientWidth,
    height: host.clientHeight,
    padding: [12, 8, 0, 0],
    cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
    legend: { show: false },
    scales: { x: { time: false, range: [-0.6, points.length - 0.4] }, y: { range: (_, low, high) => [0, Math.max(high * 1.08, 4)] } },
    axes: [
      {
        ...axis, grid: { show: false }, size: 30,
        splits: (chart) => {
          const step = everyNth(points.length, chart.width / 62);
          return points.map((_, at) => at).filter((at) => at % step === 0);
        },
        values: (_, splits) => splits.map((at) => points[at]?.label ?? ""),
      },
      {
        ...axis, size: 44, grid: { stroke: colour("--line"), width: 1 }, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7],
        values: (_, splits) => splits.map(shortNumber),
      },
    ],
    series: [{}, ...series.map(({ label, ink, line }) => line
      ? { label, stroke: colour(ink), width: 2, points: { show: true, size: 6, fill: colour("--card") } }
      : { label, fill: colour(ink), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.68, 42], radius: 0.2 }) })],
    hooks: { setCursor: [(chart) => showTip(host, chart, points, series)] },
  };
}

function showTip(host, chart, points, series) {
  const at = chart.cursor.idx;
  let tip = host.querySelector(".tip");
  if (at === null || at === undefined || chart.cursor.left < 0 || !points[at]) return tip?.remove();
  if (!tip) {
    tip = document.createElement("div");
    tip.className = "tip";
    host.append(tip);
  }
  const title = document.createElement("b");
  title.textContent = points[at].title;
  const lines = series.map(({ label, say }) => {
    const line = document.createElement("div");
    line.textContent = `${label} ${say(points[at])}`;
    return line;
  });
  tip.replaceChildren(title, ...lines);
  const left = chart.valToPos(at, "x") + chart.bbox.left / devicePixelRatio;
  tip.style.left = `${Math.max(0, Math.min(left - tip.offsetWidth / 2, host.clientWidth - tip.offsetWidth))}px`;
  tip.style.top = "0px";
}

/** Draw `points` ({label, title, …}) in `host`; each of `series` is {label, ink, value(point), say(point), line}. */
export function drawChart(host, points, series) {
  charts.get(host)?.chart.destroy();
  host.replaceChildren();
  const data = [points.map((_, at) => at), ...series.map(({ value }) => points.map(value))];
  if (!charts.has(host)) sizes.observe(host);
  charts.set(host, { chart: new uPlot(options(host, points, series), data, host), points, series });
}

function redraw() {
  for (const [host, { points, series }] of charts) drawChart(host, points, series);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

const sizes = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const { chart } = charts.get(target);
    if (target.clientWidth && chart.width !== target.clientWidth) chart.setSize({ width: target.clientWidth, height: target.clientHeight });
  }
});
