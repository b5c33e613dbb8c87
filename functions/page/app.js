// The page: what is chosen, what gold says about it, and where that is shown.

import * as api from "./api.js";
import { drawChart } from "./charts.js";
import {
  WITHHELD, addDays, age, dateTime, duration, fullDay, localDate, many, minDevices, number, percent, reason, shortDay, time, words, zone,
} from "./format.js";
import { pooled } from "./lift.js";
import { StoreMap } from "./map.js";
import * as queries from "./queries.js";
import { element, figure, fillBars, fillTable, liftCell } from "./tables.js";

const LOOK_AGAIN_MS = 10_000;
const STALE_S = 15 * 60;
const LISTED = 100;
const COUNTS = ["considered", "sent", "delivered", "failed"];

const at = (id) => document.getElementById(id);
const map = new StoreMap(at("map"), describeStore);
const state = { catalogue: null, versions: "", stores: [], byStore: [], promotionDays: [], promotions: new Set(), loading: null };

// What is chosen -----------------------------------------------------------------------------------------------------

/** The filters: dates are the stores' own; a period ends on the day of gold's newest event, in this browser's zone. */
function chosen() {
  const form = new FormData(at("filters"));
  const newest = localDate(new Date(state.catalogue.as_of));
  const to = form.get("period") === "yesterday" ? addDays(newest, -1) : newest;
  const days = Number(form.get("period")) || 1;
  return {
    from: addDays(to, 1 - days), to, byHour: days === 1,
    merchant: knownMerchant(form.get("merchant").trim()), promotion: form.get("promotion"),
  };
}

/** The merchant of that name, whatever its case; none while it is not one's whole name. */
function knownMerchant(typed) {
  const found = state.merchants.get(typed.toLowerCase()) ?? "";
  at("merchant").setAttribute("aria-invalid", String(Boolean(typed) && !found));
  return found;
}

function namePeriods() {
  const isToday = localDate(new Date(state.catalogue.as_of)) === localDate(new Date());
  at("word-today").textContent = isToday ? "Today" : "Latest day";
  at("word-yesterday").textContent = isToday ? "Yesterday" : "Day before";
}

// What gold says -----------------------------------------------------------------------------------------------------

const table = (name) => state.catalogue.tables.find((one) => one.name === name);
const has = (name) => Boolean(table(name)?.rows);
const ask = async (name, question, signal) => (has(name) ? api.sql(question, signal) : { rows: [], truncated: false });
const read = async (name, filters, signal) => (has(name) ? api.rows(name, filters, signal) : []);

/** Look what gold has; load again what is shown when it changed. */
async function look() {
  try {
    const catalogue = await api.catalogue();
    const versions = JSON.stringify(catalogue.tables.map(({ name, version }) => [name, version]));
    const isNew = versions !== state.versions;
    state.catalogue = catalogue;
    showAge();
    const isEmpty = !catalogue.as_of || !(has("store_hourly") || has("offers_hourly") || has("data_quality_hourly"));
    at("empty").hidden = !isEmpty;
    at("filters").hidden = at("figures").hidden = isEmpty;
    if (isEmpty || !isNew) {
      at("trouble").hidden = true;
      return;
    }
    namePeriods();
    await loadChoices();
    if (await load()) state.versions = versions;
  } catch (error) {
    showTrouble(error);
  }
}

async function loadChoices() {
  const [stores, promotionDays] = await Promise.all([read("stores", {}), read("promotion_daily", {})]);
  state.stores = stores;
  state.promotionDays = promotionDays;
  state.merchants = new Map(stores.filter(({ merchant }) => merchant).map(({ merchant }) => [merchant.toLowerCase(), merchant]));
  const names = [...state.merchants.values()].sort((one, other) => one.localeCompare(other));
  at("merchants").replaceChildren(...names.map((value) => element("option", { value })));
  offerPromotions(promotionDays.map((day) => day.promotion_id));
}

/** Add promotions to those that can be chosen; what is chosen stays. */
function offerPromotions(ids) {
  const before = state.promotions.size;
  for (const id of ids) state.promotions.add(id);
  if (state.promotions.size === before) return;
  const select = at("promotion");
  const kept = select.value;
  select.replaceChildren(element("option", { value: "" }, "All promotions"),
    ...[...state.promotions].sort().map((id) => element("option", { value: id }, id)));
  select.value = kept;
}

/** Load and show the figures of what is chosen; false when something else was chosen meanwhile. */
async function load(refit = !state.versions) {
  state.loading?.abort();
  const { signal } = (state.loading = new AbortController());
  const filters = chosen();
  at("figures").setAttribute("aria-busy", "true");
  try {
    const counts = table("offers_hourly")?.columns.map(({ name }) => name)
      .filter((name) => COUNTS.includes(name) || name.startsWith("not_sent_")) ?? [];
    const quality = read("data_quality_hourly", { from: filters.from, to: addDays(filters.to, 1) }, signal);
    // One after the other: the app runs few queries at once, and others look, too.
    const offers = await ask("offers_hourly", queries.offers(filters, counts), signal);
    const visits = await ask("store_daily", queries.visits(filters), signal);
    const byHour = filters.byHour ? await ask("store_hourly", queries.visitsByHour(filters), signal) : null;
    const found = { counts, ...parted(filters, offers, visits, byHour), quality: await quality };
    if (signal.aborted) return false;
    show(filters, found, refit);
    at("trouble").hidden = true;
    return true;
  } catch (error) {
    if (error.name === "AbortError") return false;
    state.versions = ""; // so that the next look loads again
    showTrouble(error);
    return false;
  } finally {
    if (!signal.aborted) at("figures").setAttribute("aria-busy", "false");
  }
}

/** The rows of the answers by what they sum up. */
function parted({ byHour }, offers, visits, hours) {
  const timed = (rows) => rows.map((row) => ({ ...row, at: row[byHour ? "hour" : "event_date"] }));
  const of = (answer, level) => answer.rows.filter((row) => row.level === level);
  const none = { withheld: 0 };
  return {
    visits: timed(hours?.rows ?? of(visits, queries.VISITS_OF.time)),
    visitsByStore: of(visits, queries.VISITS_OF.store),
    allVisits: of(visits, queries.VISITS_OF.all)[0] ?? none,
    offers: timed(of(offers, queries.OFFERS_OF.time)),
    offersByStore: of(offers, queries.OFFERS_OF.store),
    offersByPromotion: of(offers, queries.OFFERS_OF.promotion).filter((row) => row.promotion_id !== null),
    allOffers: of(offers, queries.OFFERS_OF.all)[0] ?? none,
    isCut: offers.truncated || visits.truncated,
  };
}

// Where it is shown --------------------------------------------------------------------------------------------------

function show(filters, found, refit) {
  const { from, to, byHour } = filters;
  at("period-words").textContent = byHour ? fullDay(to) : `${shortDay(from)} to ${shortDay(to)}`;
  for (const by of document.querySelectorAll(".by")) by.textContent = byHour ? "by hour" : "by day";
  offerPromotions(found.offersByPromotion.map((row) => row.promotion_id));
  showKeyFigures(filters, found);
  showVisits(filters, found.visits);
  showOffers(filters, found.offers);
  showStores(filters, found, refit);
  showPromotions(filters, found);
  showReasons(found.allOffers);
  showQuality(found.quality);
  showFreshness();
}

/** A sum: of no rows it is 0, of rows that are all withheld it is so, too (null). */
const told = (row, column) => row[column] ?? (row.withheld ? null : 0);

function withoutWithheld(count, cell, cells) {
  return count ? `Without ${many(count, cell, cells)} ${WITHHELD}.` : "";
}

function showValue(id, value, note) {
  const host = at(id);
  host.classList.toggle("words", value === null);
  host.textContent = value === null ? "withheld" : number(value);
  at(`${id}-note`).textContent = value === null ? `fewer than ${minDevices} devices` : note;
}

function showKeyFigures({ byHour }, { allVisits, allOffers, visits }) {
  const visitors = told(allVisits, "new_devices") + told(allVisits, "returning_devices");
  const [sent, delivered, considered] = ["sent", "delivered", "considered"].map((column) => told(allOffers, column));
  const open = visits.filter((row) => row.visits).length;
  showValue("kpi-visits", told(allVisits, "visits"), open ? `in ${many(open, byHour ? "hour" : "day")}` : "");
  showValue("kpi-new", told(allVisits, "new_devices"), visitors ? `${percent(allVisits.new_devices / visitors)} of visitors, by store and day` : "");
  showValue("kpi-sent", sent, considered ? `of ${number(considered)} considered` : "");
  showValue("kpi-delivered", delivered, sent ? `${percent(delivered / sent)} of those sent` : "");
}

/** The points of a chart: each hour of the day in this zone (and those of stores in other zones), or each day. */
function pointsOf({ from, to, byHour }, rows) {
  const byTime = new Map(rows.map((row) => [byHour ? Date.parse(row.at) : row.at.slice(0, 10), row]));
  const points = [];
  if (!byHour) {
    for (let day = from; day <= to; day = addDays(day, 1)) {
      points.push({ label: shortDay(day).replace(/^\p{L}+\.?,? /u, ""), title: shortDay(day), row: byTime.get(day) });
    }
    return points;
  }
  const hour = 3_600_000;
  const midnight = new Date(`${from}T00:00`).getTime();
  const next = new Date(`${addDays(from, 1)}T00:00`).getTime();
  const utcHour = (instant) => Math.floor(instant / hour) * hour;
  const first = Math.min(utcHour(midnight), ...byTime.keys());
  const last = Math.max(utcHour(next - 1), ...byTime.keys());
  for (let start = first; start <= last; start += hour) {
    points.push({ label: time(start), title: `${time(start)} to ${time(start + hour)}`, row: byTime.get(start) });
  }
  return points;
}

function series(label, column, ink, line = false) {
  return {
    label, column, ink, line,
    value: ({ row }) => row?.[column] ?? null,
    say: ({ row }) => (row === undefined ? "0" : row[column] === null ? "withheld" : number(row[column])),
  };
}

function showOver(name, filters, rows, drawn, cell, cells) {
  const points = pointsOf(filters, rows);
  drawChart(at(`${name}-chart`), points, drawn);
  fillTable(at(`${name}-table`), [
    { title: filters.byHour ? "Hour" : "Day", of: ({ title }) => title },
    ...drawn.map(({ label, column }) => ({ title: label, of: ({ row }) => figure(row[column]), isNumber: true })),
  ], points.filter(({ row }) => row));
  at(`${name}-note`).textContent = withoutWithheld(rows.reduce((sum, row) => sum + row.withheld, 0), cell, cells);
}

function showVisits(filters, rows) {
  showOver("visits", filters, rows, [series("Visits", "visits", "--bar")], filters.byHour ? "store-hour" : "store-day");
  if (filters.promotion) at("visits-note").textContent += " A visit has no promotion: these are the visits of all.";
}

function showOffers(filters, rows) {
  showOver("offers", filters, rows, [
    series("Sent", "sent", "--accent"),
    series("Delivered", "delivered", "--ink", true),
  ], "store-hour of a promotion", "store-hours of a promotion");
}

function describeStore(store) {
  const say = (value, one) => (value === null ? `${one}s withheld` : value === undefined ? `${one}s not counted` : many(value, one));
  return [store.name || store.store_id, [store.merchant, store.location].filter(Boolean).join(" · "),
    `${say(store.visits, "visit")}, ${say(store.sent, "offer")} sent`];
}

function showStores({ merchant }, { visitsByStore, offersByStore, isCut }, refit) {
  const visits = new Map(visitsByStore.map((row) => [row.store_id, row.visits]));
  const sent = new Map(offersByStore.map((row) => [row.store_id, row.sent]));
  const measure = (figures, id) => (figures.has(id) ? figures.get(id) : isCut ? undefined : 0);
  const known = new Set(state.stores.map((store) => store.store_id));
  const former = merchant ? [] : [...new Set([...visits.keys(), ...sent.keys()])].filter((id) => id !== null && !known.has(id));
  state.byStore = [...state.stores, ...former.map((id) => ({ store_id: id, location: "No longer among the stores" }))]
    .filter((store) => !merchant || store.merchant === merchant)
    .map((store) => ({ ...store, key: store.store_id, visits: measure(visits, store.store_id), sent: measure(sent, store.store_id) }))
    .sort((one, other) => (other.visits ?? -1) - (one.visits ?? -1) || (other.sent ?? -1) - (one.sent ?? -1) || (one.store_id < other.store_id ? -1 : 1));
  state.isCut = isCut;
  map.show(state.byStore.filter(({ latitude }) => latitude !== undefined), refit || merchant !== state.merchant);
  state.merchant = merchant;
  listStores();
}

function listStores() {
  const sought = at("store-search").value.trim().toLowerCase();
  const found = sought
    ? state.byStore.filter((store) => [store.name, store.location, store.store_id, store.merchant].some((text) => text?.toLowerCase().includes(sought)))
    : state.byStore;
  fillTable(at("stores-table"), [
    { title: "Store", of: (store) => [element("button", { type: "button", class: "link", "data-store": store.store_id }, store.name || store.store_id),
      element("small", {}, store.location ?? "")] },
    { title: "Visits", of: ({ visits }) => figure(visits), isNumber: true },
    { title: "Offers", of: ({ sent }) => figure(sent), isNumber: true },
  ], found.slice(0, LISTED), sought ? "No store has that in its name, place or id." : "No stores are known yet.");
  const cut = state.isCut ? " Only the busiest are counted." : "";
  at("stores-note").textContent = (found.length > LISTED ? `The busiest ${LISTED} of ${number(found.length)} stores.` : many(found.length, "store")) + cut;
}

function showPromotions({ merchant, promotion, from, to }, { offersByPromotion }) {
  const promotions = state.promotionDays.filter((day) =>
    day.event_date >= from && day.event_date <= to && (!promotion || day.promotion_id === promotion));
  const daysOf = Map.groupBy(promotions, (row) => row.promotion_id);
  const offers = new Map(offersByPromotion.map((row) => [row.promotion_id, row]));
  // Lift is measured over all of a promotion's stores; under a merchant, only promotions that it had are shown.
  const ids = new Set([...offers.keys(), ...(merchant ? [] : daysOf.keys())]);
  const rows = [...ids].map((id) => {
    const days = daysOf.get(id) ?? [];
    const final = days.filter((day) => day.is_final);
    const none = { sent: 0, delivered: 0, considered: 0 };
    return { key: id, ...(offers.get(id) ?? none), id, days, final, dwell: pooled(days, "dwelled"), back: pooled(final, "returned") };
  });
  const ends = rows.flatMap(({ dwell, back }) => [dwell, back]).filter(Boolean).flatMap(({ low, high }) => [Math.abs(low), Math.abs(high)]);
  const reach = Math.max(0.05, ...ends);
  const attribution = Math.max(0, ...promotions.map((row) => row.attribution_days));
  fillTable(at("promotions-table"), [
    { title: "Promotion", of: ({ id }) => id },
    { title: "Considered", of: ({ considered }) => figure(considered), isNumber: true },
    { title: "Sent", of: ({ sent }) => figure(sent), isNumber: true },
    { title: "Delivered", of: ({ delivered }) => figure(delivered), isNumber: true },
    { title: "Stayed: lift", of: ({ dwell, days }) => liftCell(dwell, reach, days.length ? "not told: an arm is too small, or the offer came after staying" : "no device was assigned in this period") },
    { title: attribution ? `Came back in ${many(attribution, "day")}: lift` : "Came back: lift", of: ({ back, days, final }) =>
      liftCell(back, reach, !days.length ? "no device was assigned in this period" : final.length ? "not told: an arm is too small" : "not final yet") },
    { title: "Most often not sent", of: (row) => element("span", {}, ...topReasons(row, 3).map(([name, count]) => element("small", {}, `${reason(name)}: ${number(count)}`))) },
  ], rows, "No promotion was considered in this period.");
  at("promotions-note").textContent = rows.length
    ? `Lift counts devices first assigned ${from === to ? `on ${shortDay(to)}` : `from ${shortDay(from)} to ${shortDay(to)}`}${merchant ? ", over all stores of a promotion" : ""}.` : "";
}

function topReasons(counts, most = Infinity) {
  return Object.entries(counts)
    .filter(([name, count]) => name.startsWith("not_sent_") && count)
    .map(([name, count]) => [name.slice("not_sent_".length), count])
    .sort(([, one], [, other]) => other - one)
    .slice(0, most);
}

function showReasons(offers) {
  const entries = topReasons(offers).map(([name, count]) => [reason(name), count]);
  if (offers.failed) entries.push(["Failed: see the log", offers.failed]);
  fillBars(at("reasons-table"), entries, told(offers, "considered") === null ? WITHHELD : "Every offer that was considered was sent, or none was.");
  at("reasons-note").textContent = withoutWithheld(offers.withheld, "store-hour of a promotion", "store-hours of a promotion");
}

function showQuality(hours) {
  const hubs = [...Map.groupBy(hours, (row) => row.hub)].map(([hub, rows]) => {
    const total = (column) => rows.reduce((sum, row) => sum + (row[column] ?? 0), 0);
    const newest = rows.filter((row) => (row.delay_p50_s ?? null) !== null).sort((one, other) => (one.hour < other.hour ? 1 : -1))[0];
    const rejected = Object.keys(rows[0]).filter((name) => name.startsWith("rejected_")).map((name) => [words(name.slice("rejected_".length)), total(name)])
      .filter(([, count]) => count).sort(([, one], [, other]) => other - one);
    return { key: hub, hub, captured: total("captured"), rejected: total("rejected"), why: rejected, duplicates: total("duplicates"), newest };
  });
  fillTable(at("quality-table"), [
    { title: "Hub", of: ({ hub, why }) => [hub, ...why.slice(0, 3).map(([name, count]) => element("small", {}, `${name}: ${number(count)}`))] },
    { title: "Captured", of: ({ captured }) => number(captured), isNumber: true },
    { title: "Rejected", of: ({ rejected, captured }) => [number(rejected), element("small", {}, captured ? percent(rejected / captured) : "")], isNumber: true },
    { title: "Repeats", of: ({ duplicates }) => number(duplicates), isNumber: true },
    { title: "Delay", of: ({ newest }) => (newest ? [duration(newest.delay_p50_s), element("small", {}, `95 %: ${duration(newest.delay_p95_s)}`)] : "–"), isNumber: true },
  ], hubs);
  at("quality-note").textContent = hubs.length ? "Days are UTC here. Delay: from a position's time to the hub, in the newest hour, half of all and 95 % of all." : "";
}

function showFreshness() {
  fillTable(at("fresh-table"), [
    { title: "Table", of: ({ name }) => name },
    { title: "Rows", of: ({ rows }) => (rows === null ? "–" : number(rows)), isNumber: true },
    { title: "Changed", of: ({ changed_at: changed }) => (changed ? dateTime(new Date(changed)) : "–"), isNumber: true },
  ], state.catalogue.tables);
}

function showAge() {
  const { as_of: newest } = state.catalogue;
  if (!newest) return at("as-of").replaceChildren();
  const seconds = (Date.now() - Date.parse(newest)) / 1000;
  at("as-of").classList.toggle("stale", seconds > STALE_S);
  at("as-of").replaceChildren("As of ", element("b", {}, dateTime(new Date(newest))), ` · ${age(seconds)}`);
}

function showTrouble(error) {
  if (!(error instanceof api.ApiError)) throw error;
  at("trouble").textContent = error.message;
  at("trouble").hidden = false;
}

// What the manager does ----------------------------------------------------------------------------------------------

at("filters").addEventListener("submit", (event) => event.preventDefault());
at("filters").addEventListener("change", () => load());
at("store-search").addEventListener("input", listStores);
at("stores-table").addEventListener("click", ({ target }) => { if (target.dataset.store) map.goTo(target.dataset.store); });
at("zone").textContent = `Hours are shown in ${zone}; days are those of the stores.`;

async function keepLooking() {
  try {
    if (!document.hidden) await look();
  } finally {
    setTimeout(keepLooking, LOOK_AGAIN_MS);
  }
}
keepLooking();
