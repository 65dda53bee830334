// The line over everything: how many frames, how many bytes each, and how little of the picture that is.

import {now} from "./clock.js";
import {bytes, rate, share} from "./format.js";
import {parts, say} from "./parts.js";

const SECONDS = 10;

// Frames per second of the cloud's clock: one counter a second, SECONDS + 1 of them, used in a circle.
export class Rate {
  #counts = new Array(SECONDS + 1).fill(0);
  #seconds = new Array(SECONDS + 1).fill(0);
  #since = now();

  add(stamp) {
    const second = Math.floor(stamp / 1000);
    const place = second % this.#counts.length;
    if (second < this.#seconds[place]) return;
    if (second > this.#seconds[place]) this.#counts[place] = 0;
    this.#seconds[place] = second;
    this.#counts[place] += 1;
  }

  // The mean over the last ten full seconds, or over as many as have been watched.
  get value() {
    const second = Math.floor(now() / 1000);
    const watched = Math.min(SECONDS, Math.max(1, Math.floor((now() - this.#since) / 1000)));
    const recent = this.#counts.filter((_, place) => this.#seconds[place] >= second - watched && this.#seconds[place] < second);
    return recent.reduce((sum, count) => sum + count, 0) / watched;
  }
}

export class Totals {
  every = 250;
  rate = new Rate();

  // cards: a Map whose values are CameraCards.
  constructor(root, cards) {
    Object.assign(this, {root, cards, parts: parts(root)});
  }

  draw() {
    const sums = {frames: 0, coded: 0, source: 0};
    for (const {history} of this.cards.values()) {
      for (const [name, value] of Object.entries(history.sums)) sums[name] += value;
    }
    this.root.hidden = sums.frames === 0;
    if (sums.frames === 0) return;
    const [coded, source] = [sums.coded / sums.frames, sums.source / sums.frames];
    say(this.parts.rate, rate(this.rate.value));
    say(this.parts.cameras, this.cards.size === 1 ? "from one camera" : `from ${this.cards.size} cameras`);
    say(this.parts.bytes, bytes(coded));
    say(this.parts.share, share(coded, source));
    say(this.parts.of, `${bytes(coded)} of ${bytes(source)}: the rest stayed at the edge`);
    this.parts.river.style.width = `${Math.min(100, (100 * coded) / source)}%`;
  }
}
