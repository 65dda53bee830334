// Numbers and times as people read them.

const plain = new Intl.NumberFormat("en");
const hands = {hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23"};
const clockTime = new Intl.DateTimeFormat("en", hands);
const tenths = new Intl.DateTimeFormat("en", {...hands, fractionalSecondDigits: 1});

// Two significant places below 10, one decimal below 100: 3.1, 54.2, 812.
const few = (value) => (value < 99.95 ? value.toFixed(1) : plain.format(Math.round(value)));

export function bytes(count) {
  if (!Number.isFinite(count)) return "–";
  if (count < 1000) return `${Math.round(count)} B`;
  if (count < 999_500) return `${few(count / 1e3)} kB`;
  return `${few(count / 1e6)} MB`;
}

export function milliseconds(value) {
  if (!Number.isFinite(value)) return "–";
  if (value < 9.95) return `${value.toFixed(1)} ms`;
  if (value < 999.5) return `${Math.round(value)} ms`;
  if (value < 119_500) return `${few(value / 1e3)} s`;
  return duration(value);
}

export function duration(value) {
  const seconds = Math.max(0, Math.round(value / 1e3));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

export const ago = (value) => (value < 2000 ? "now" : `${duration(value)} ago`);
export const count = (value) => plain.format(value);
export const rate = (value) => (value === 0 ? "0" : few(value));
export const score = (value) => value.toFixed(2);
// What a detection is: its label, and which one of these where it is of a track.
export const named = ({label, track_id: track}) => (track === undefined ? label : `${label} #${track}`);
export const time = (iso) => clockTime.format(new Date(iso));
export const timeWithTenths = (iso) => tenths.format(new Date(iso));

export function share(part, whole) {
  if (!(whole > 0)) return "–";
  const percent = (100 * part) / whole;
  if (percent > 0 && percent < 0.05) return "under 0.1 %";
  return `${percent < 9.95 ? percent.toFixed(1) : Math.round(percent)} %`;
}
