// The HTTP API of the app. The key that opened the page opens the API; it is sent in a header, and put in no address.

const key = new URLSearchParams(location.search).get("code");

export class ApiError extends Error {}

const BUSY = new Set([429, 503]);
const TRIES = 6;
const PATIENCE_MS = 60_000;

/** An answer of the API. One that is busy (few SQL queries run at once) is asked again, a little later each time. */
async function call(path, options = {}, left = TRIES) {
  const headers = { ...(options.headers ?? {}), ...(key ? { "x-functions-key": key } : {}) };
  let answer;
  try {
    const signal = AbortSignal.any([options.signal, AbortSignal.timeout(PATIENCE_MS)].filter(Boolean));
    answer = await fetch(new URL(path, location.origin + location.pathname), { ...options, headers, signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The app cannot be reached. What is shown is what it said last.");
  }
  if (answer.ok) return answer.json();
  if (BUSY.has(answer.status) && left > 1) {
    await new Promise((resolve) => setTimeout(resolve, 300 * (TRIES - left + 1) + 200 * Math.random()));
    return call(path, options, left - 1);
  }
  if (answer.status === 401) throw new ApiError("The key in this page's address does not open the API. Use a host key of the app.");
  const said = await answer.json().then((body) => body.error, () => null);
  throw new ApiError(said ?? `The app answered ${answer.status}. What is shown is what it said last.`);
}

/** What gold has: {as_of, tables}. */
export const catalogue = (signal) => call("gold", { signal });

/** The rows of a gold table under the filters, each an object. */
export async function rows(table, filters, signal) {
  const query = new URLSearchParams({ limit: "100000", ...filters });
  return (await call(`gold/${table}?${query}`, { signal })).rows;
}

/** The rows of a SQL query over gold, each an object, and whether there are more. */
export async function sql(text, signal) {
  const options = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ sql: text }), signal };
  const { columns, rows: found, truncated } = await call("sql", options);
  const names = columns.map((column) => column.name ?? column);
  return { rows: found.map((row) => Object.fromEntries(names.map((name, at) => [name, row[at]]))), truncated };
}
