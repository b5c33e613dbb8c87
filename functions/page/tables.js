// Tables, and the small drawings in their cells. A null figure is withheld; it says so, and is no 0.

import { WITHHELD, number, percent, percentPoints } from "./format.js";

/** An element with attributes and children (texts or elements). */
export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function drawing(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

export const withheld = () => element("span", { class: "withheld", title: WITHHELD }, "withheld");

/** A count as text, or the word for one that is withheld (null); a dash for what was not told (undefined). */
export const figure = (value) => (value === null ? withheld() : value === undefined ? "–" : number(value));

/**
 * Fill `table`: columns are {title, of(row), isNumber}; the first one names the row.
 * Roles are said, and titles repeated, since on a phone the style makes cards of the rows of some tables.
 */
export function fillTable(table, columns, rows, none = "Nothing in this period.") {
  const head = element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...columns.map(({ title, isNumber }) =>
    element("th", { scope: "col", role: "columnheader", ...(isNumber ? { class: "n" } : {}) }, title))));
  const body = element("tbody", { role: "rowgroup" }, ...rows.map((row) => {
    const attributes = { role: "row", ...(row.key === undefined ? {} : { "data-key": row.key }) };
    return element("tr", attributes, ...columns.map((column, at) => cellOf(column, row, at === 0)));
  }));
  if (!rows.length) body.append(element("tr", { role: "row" }, element("td", { role: "cell", colspan: columns.length, class: "withheld" }, none)));
  table.setAttribute("role", "table");
  table.replaceChildren(head, body);
}

function cellOf({ title, of, isNumber }, row, isFirst) {
  const content = [of(row)].flat();
  if (isFirst) return element("th", { scope: "row", role: "rowheader" }, ...content);
  return element("td", { role: "cell", "data-title": title, ...(isNumber ? { class: "n" } : {}) }, ...content);
}

/** A lift with its interval on a line of -`reach` to `reach`, and in words below. */
export function liftCell(lift, reach, absent) {
  const cell = element("div", { class: "lift" });
  if (!lift) {
    cell.append(element("span", { class: "withheld" }, absent));
    return cell;
  }
  const isSure = lift.low > 0 || lift.high < 0;
  cell.classList.toggle("sure", isSure);
  const at = (share) => 100 + (Math.max(-reach, Math.min(reach, share)) / reach) * 96;
  const interval = `${percentPoints(lift.low)} to ${percentPoints(lift.high)}`;
  const picture = drawing("svg", { viewBox: "0 0 200 20", role: "img", "aria-label": `Lift ${percentPoints(lift.lift)} points, 95 % interval ${interval}` },
    drawing("line", { class: "rail", x1: 0, x2: 200, y1: 10, y2: 10 }),
    drawing("line", { class: "zero", x1: 100, x2: 100, y1: 1, y2: 19 }),
    drawing("line", { class: "interval", x1: at(lift.low), x2: at(lift.high), y1: 10, y2: 10 }),
    drawing("circle", { class: "point", cx: at(lift.lift), cy: 10, r: 5.5 }));
  cell.append(picture, element("strong", {}, `${percentPoints(lift.lift)} pts`), ` (${interval})`,
    element("small", {}, `${percent(lift.share)} of ${number(lift.devices)} sent, ${percent(lift.other)} of ${number(lift.otherDevices)} held out`));
  return cell;
}

/** Fill `table` with a bar for each of [words, count]. */
export function fillBars(table, entries, none) {
  const most = Math.max(1, ...entries.map(([, count]) => count));
  const rows = entries.map(([words, count]) => element("tr", {},
    element("th", { scope: "row" }, words),
    element("td", {}, drawing("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
      drawing("rect", { width: Math.max(0.6, (100 * count) / most), height: 10 }))),
    element("td", { class: "n" }, number(count))));
  if (!rows.length) rows.push(element("tr", {}, element("td", { class: "withheld" }, none)));
  table.replaceChildren(element("tbody", {}, ...rows));
}
