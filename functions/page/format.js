// Numbers, times and words as a person reads them, in the language of the browser.

const whole = new Intl.NumberFormat();
const compact = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });
const parts = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 1 });
const points = new Intl.NumberFormat(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1, signDisplay: "exceptZero" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const dayAndClock = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" });
const longDay = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric", timeZone: "UTC" });

export const minDevices = Number(document.body.dataset.minDevices);
export const WITHHELD = `withheld (fewer than ${minDevices} devices)`;
export const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

export const number = (value) => whole.format(value);
export const shortNumber = (value) => compact.format(value);
export const percent = (share) => parts.format(share);
export const percentPoints = (share) => points.format(share * 100);
export const time = (instant) => clock.format(instant);
export const dateTime = (instant) => dayAndClock.format(instant);
export const shortDay = (iso) => day.format(new Date(`${iso}T00:00Z`));
export const fullDay = (iso) => longDay.format(new Date(`${iso}T00:00Z`));
export const words = (name) => name.replaceAll("_", " ");
export const many = (count, one, more = `${one}s`) => `${number(count)} ${count === 1 ? one : more}`;

/** The date of an instant in the browser's zone, as YYYY-MM-DD. */
export function localDate(instant) {
  const two = (value) => String(value).padStart(2, "0");
  return `${instant.getFullYear()}-${two(instant.getMonth() + 1)}-${two(instant.getDate())}`;
}

export function addDays(iso, days) {
  return new Date(Date.parse(`${iso}T00:00Z`) + days * 86_400_000).toISOString().slice(0, 10);
}

export function age(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129_600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86_400)} days ago`;
}

export function duration(seconds) {
  if (seconds < 100) return `${number(Math.round(seconds * 10) / 10)} s`;
  return seconds < 6000 ? `${number(Math.round(seconds / 60))} min` : `${number(Math.round(seconds / 360) / 10)} h`;
}

const REASONS = {
  no_consent: "No consent", not_running: "Promotion not running", wrong_trigger: "Waits for another moment of the visit",
  outside_hours: "Outside its hours", stale_ping: "Position too old", low_accuracy: "Position too inaccurate",
  cooldown: "Cooldown at the store", daily_cap: "Device had its daily share", too_soon: "Too soon after the last offer",
  quiet_hours: "Quiet hours", geofence_changed: "Geofence just changed", unknown: "Not enough known",
  outranked: "A better offer went first", held_out: "Held out to measure lift", budget_spent: "Budget spent", other: "Other",
};
export const reason = (name) => REASONS[name] ?? words(name);
