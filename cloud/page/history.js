// What the page remembers of one camera: its last KEPT results in order, and their running sums. Nothing grows.

const KEPT = 120;
const TRAIL = 30;

export class History {
  #results = [];
  #coded = 0;
  #source = 0;

  // False for a result that is not news: a stream that resumes may repeat itself. (A smaller number stored later is
  // news: the cloud has begun a new database.)
  add(result) {
    if (this.latest && !isNewer(result, this.latest)) return false;
    this.#results.push(result);
    this.#weigh(result, 1);
    if (this.#results.length > KEPT) this.#weigh(this.#results.shift(), -1);
    return true;
  }

  #weigh({bytes}, sign) {
    this.#coded += sign * bytes.coded;
    this.#source += sign * bytes.source;
  }

  get latest() {
    return this.#results.at(-1);
  }

  get sums() {
    return {frames: this.#results.length, coded: this.#coded, source: this.#source};
  }

  // Where each track was up to a result, and shortly before: the middles of its boxes, oldest first, by its id.
  trails({number}) {
    const trails = new Map();
    for (const {detections} of this.#results.filter((one) => one.number <= number).slice(-TRAIL)) {
      for (const {track_id: track, box: [x1, y1, x2, y2]} of detections) {
        if (track === undefined) continue;
        if (!trails.has(track)) trails.set(track, []);
        trails.get(track).push([(x1 + x2) / 2, (y1 + y2) / 2]);
      }
    }
    return trails;
  }

  series(of) {
    return this.#results.map(of);
  }
}

// Accepted by the edge to stored by the cloud, milliseconds; two clocks, so never below 0.
export const latency = (result) => Math.max(0, Date.parse(result.stored_at) - Date.parse(result.accepted_at));

export const isNewer = (a, b) => a.number > b.number || (a.number < b.number && a.stored_at > b.stored_at);
