// The objects a camera has followed lately: which, since when, for how long. Pointing at one shows where it went.

import {tracks} from "./api.js";
import {duration, named, time} from "./format.js";
import {hue} from "./label-colour.js";
import {say} from "./parts.js";

const SHOWN = 20;
const PAUSE_MS = 3000;

export class TrackList {
  #camera;
  #known = new Set();
  #asked = -Infinity;
  #rows = [];

  // root: the whole section, which is not there until there is a track. of: {camera, edge}. onPoint(id): at that track,
  // at none if undefined.
  constructor(root, list, {of, onPoint}) {
    Object.assign(this, {root, list});
    this.#camera = of;
    list.addEventListener("pointerover", (event) => onPoint(this.#idOf(event.target)));
    list.addEventListener("pointerleave", () => onPoint(undefined));
  }

  #idOf(element) {
    return this.#rows.find((row) => row.item.contains(element))?.id;
  }

  // in a result: asks anew where one of its tracks is not in the list yet, or it is a while ago.
  follow({detections}) {
    const ids = detections.map(({track_id: id}) => id).filter((id) => id !== undefined);
    if (ids.some((id) => !this.#known.has(id))) this.refresh();
  }

  async refresh() {
    if (performance.now() - this.#asked < PAUSE_MS) return;
    this.#asked = performance.now();
    const found = await tracks({...this.#camera, limit: SHOWN}).catch(() => []);
    if (found.length) this.#show(found.sort((a, b) => (a.last_seen < b.last_seen ? 1 : -1)));
  }

  #show(found) {
    this.#known = new Set(found.map(({id}) => id));
    this.root.hidden = false;
    while (this.#rows.length < found.length) this.#rows.push(this.#row());
    this.#rows.forEach((row, index) => this.#fill(row, found[index]));
  }

  #row() {
    const item = document.createElement("li");
    const [label, since, dwell] = ["label", "since", "value"].map((name) => {
      const span = document.createElement("span");
      span.className = name;
      item.append(span);
      return span;
    });
    this.list.append(item);
    return {item, label, since, dwell};
  }

  #fill(row, track) {
    const {item, label, since, dwell} = row;
    item.hidden = !track;
    row.id = track?.id;
    if (!track) return;
    const one = {label: track.label, track_id: track.id};
    item.style.setProperty("--hue", hue(one));
    say(label, named(one));
    say(since, `since ${time(track.first_seen)}`);
    say(dwell, `for ${duration(1000 * track.dwell_s)}`);
  }
}
