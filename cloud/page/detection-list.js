// The detections of the frame on show: colour, label, score. Pointing at one lifts its box out of the others.

import {named, score} from "./format.js";
import {hue} from "./label-colour.js";
import {say} from "./parts.js";

const SHOWN = 100;

export class DetectionList {
  #rows = [];

  constructor(heading, list, {onPoint}) {
    Object.assign(this, {heading, list});
    list.addEventListener("pointerover", (event) => onPoint(this.#indexOf(event.target)));
    list.addEventListener("pointerleave", () => onPoint(-1));
  }

  #indexOf(element) {
    return this.#rows.findIndex((row) => row.item.contains(element));
  }

  // weaker: how many more there are that score too little to be shown.
  show(detections, weaker) {
    const found = detections.length ? `${detections.length} found` : "Nothing found";
    say(this.heading, weaker ? `${found}, ${weaker} weaker not shown` : found);
    while (this.#rows.length < Math.min(detections.length, SHOWN)) this.#rows.push(this.#row());
    this.#rows.forEach((row, index) => this.#fill(row, detections[index]));
  }

  #row() {
    const item = document.createElement("li");
    const [label, bar, value] = ["label", "bar", "value"].map((name) => {
      const span = document.createElement("span");
      span.className = name;
      item.append(span);
      return span;
    });
    this.list.append(item);
    return {item, label, bar, value};
  }

  #fill({item, label, bar, value}, detection) {
    item.hidden = !detection;
    if (!detection) return;
    item.style.setProperty("--hue", hue(detection));
    bar.style.setProperty("--score", detection.score);
    say(label, named(detection));
    say(value, score(detection.score));
  }
}
