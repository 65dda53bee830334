// One measured quantity of a camera: its newest reading, a remark, and the curve of its last values.

import {parts, say} from "./parts.js";

const WIDTH = 120;
const HEIGHT = 32;
const TOP = 3;

export class Meter {
  constructor(root) {
    this.parts = parts(root);
    this.curve = root.querySelector(".spark");
    [this.area, this.line] = root.querySelectorAll("path");
  }

  // told: how a value reads; span: words for the curve's range, from its smallest to its largest value.
  show(values, {reading, aside, told}) {
    say(this.parts.value, reading);
    say(this.parts.aside, aside);
    const line = curve(values);
    this.line.setAttribute("d", line);
    this.area.setAttribute("d", line && `${line}V${HEIGHT}H0Z`);
    this.curve.setAttribute("aria-label", `The last ${values.length} frames: ${told(Math.min(...values))} to ${told(Math.max(...values))}`);
  }
}

// From zero, so that heights compare; the newest value at the right edge.
export function curve(values) {
  const top = Math.max(...values);
  if (values.length < 2 || !(top > 0)) return "";
  const step = WIDTH / (values.length - 1);
  const points = values.map((value, index) => `${(index * step).toFixed(2)} ${(HEIGHT - (HEIGHT - TOP) * (value / top)).toFixed(2)}`);
  return `M${points.join("L")}`;
}
