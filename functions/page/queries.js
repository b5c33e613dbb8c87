// The questions that the page asks of gold. Sums are made where the rows are: a day of offers has more rows than a phone
// should load. A query is a process over there, so one query gives the sums by time, by store, by promotion and of all.
// A null measure is withheld; it counts in `withheld` and in no sum.

const text = (value) => `'${value.replaceAll("'", "''")}'`;
const sum = (column) => `CAST(sum("${column}") AS BIGINT) AS "${column}"`;

/** What a row of the answer sums up, by SQL's GROUPING of its key columns: a bit is 1 for each that it is not about. */
export const OFFERS_OF = { time: 0b011, store: 0b101, promotion: 0b110, all: 0b111 };
export const VISITS_OF = { time: 0b01, store: 0b10, all: 0b11 };

function where({ from, to, merchant }, promotion) {
  const conditions = [`event_date >= DATE '${from}'`, `event_date <= DATE '${to}'`];
  if (merchant) conditions.push(`store_id IN (SELECT store_id FROM gold.stores WHERE merchant = ${text(merchant)})`);
  if (promotion) conditions.push(`promotion_id = ${text(promotion)}`);
  return conditions.join(" AND ");
}

/** Sums over each of `keys` and over all; those of stores come last, the greatest first, should there be too many. */
function sums(table, keys, counts, first, condition) {
  const names = keys.map((key) => `"${key}"`);
  return `SELECT GROUPING(${names.join(", ")}) AS level, ${names.join(", ")}, ${counts.map(sum).join(", ")},
      count(*) - count("${counts[0]}") AS withheld
    FROM gold.${table} WHERE ${condition}
    GROUP BY GROUPING SETS (${names.map((name) => `(${name})`).join(", ")}, ())
    ORDER BY GROUPING(store_id) DESC, sum("${first}") DESC NULLS LAST, store_id`;
}

/** A new device at two stores, or on two days, counts twice. */
export const visits = (chosen) =>
  sums("store_daily", ["event_date", "store_id"], ["visits", "new_devices", "returning_devices"], "visits", where(chosen));

export const visitsByHour = (chosen) => `SELECT "hour", ${sum("visits")}, count(*) - count(visits) AS withheld
  FROM gold.store_hourly WHERE ${where(chosen)} GROUP BY "hour"`;

/** `counts`: the columns of offers_hourly that count, `considered` first. */
export const offers = (chosen, counts) =>
  sums("offers_hourly", [chosen.byHour ? "hour" : "event_date", "store_id", "promotion_id"], counts, "sent", where(chosen, chosen.promotion));
