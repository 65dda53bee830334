// A label has one colour on every page and in every session: a hue hashed from its text. So has a track, by its number.

// FNV-1a from a start found by search: person, bicycle, car, motorcycle, bus, truck, dog and cat lie at least
// 33 degrees apart. Any other start would serve, with closer hues.
const START = 470_921;

// Tracks that follow each other get hues far apart: the golden angle.
const APART = 137.508;

export const hue = ({label, track_id: track}) => (track === undefined ? hueOfLabel(label) : Math.round((track * APART) % 360));

export function hueOfLabel(label) {
  let hash = START;
  for (const character of label) hash = Math.imul(hash ^ character.codePointAt(0), 16_777_619);
  return ((hash ^ (hash >>> 15)) >>> 0) % 360;
}

export const colour = (detection, lightness, alpha = 1) => `oklch(${lightness} 0.15 ${hue(detection)} / ${alpha})`;
