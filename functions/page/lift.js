// The lift of a promotion over several days of assignment: a device is assigned once, so its arms' days add up.

const Z = 1.959963984540054; // 95 %

function wilson(hits, devices) {
  const share = hits / devices;
  const spread = (Z * Z) / devices;
  const half = Z * Math.sqrt((share * (1 - share)) / devices + spread / (4 * devices));
  const middle = share + spread / 2;
  return [(middle - half) / (1 + spread), (middle + half) / (1 + spread)];
}

/** The difference of two shares with its 95 % interval, by Newcombe's hybrid score, as gold.promotion_daily has it. */
export function difference(hits, devices, otherHits, otherDevices) {
  const [share, other] = [hits / devices, otherHits / otherDevices];
  const [low, high] = wilson(hits, devices);
  const [otherLow, otherHigh] = wilson(otherHits, otherDevices);
  const lift = share - other;
  return {
    share, other, lift, devices, otherDevices,
    low: lift - Math.hypot(share - low, otherHigh - other),
    high: lift + Math.hypot(high - share, other - otherLow),
  };
}

/** The lift of `outcome` over the days in which both arms are told; null where there is none. */
export function pooled(days, outcome) {
  const told = days.filter((day) => day[`${outcome}_sent`] !== null && day[`${outcome}_held_out`] !== null);
  const total = (column) => told.reduce((sum, day) => sum + day[column], 0);
  const [sent, heldOut] = [total("devices_sent"), total("devices_held_out")];
  if (!sent || !heldOut) return null;
  return { ...difference(total(`${outcome}_sent`), sent, total(`${outcome}_held_out`), heldOut), days: told.length };
}
