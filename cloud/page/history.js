// What the page remembers of one camera: its last KEPT results in order, and their running sums. Nothing grows.

const KEPT = 120;
const TRAIL = 30;
const STEADY = 8;

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

  // The last results up to one, itself included.
  #upTo({number}, most) {
    return this.#results.filter((one) => one.number <= number).slice(-most);
  }

  // Where each track was up to a result, and shortly before: the middles of its boxes, oldest first, by its id.
  trails(result) {
    const trails = new Map();
    for (const {detections} of this.#upTo(result, TRAIL)) {
      for (const {track_id: track, box} of detections) {
        if (track === undefined) continue;
        if (!trails.has(track)) trails.set(track, []);
        trails.get(track).push(middle(box));
      }
    }
    return trails;
  }

  // The ids of the tracks that had such a score in a result, or shortly before.
  followed(result, least) {
    const seen = this.#upTo(result, STEADY).flatMap(({detections}) => detections);
    const sure = seen.filter(({score, track_id: track}) => track !== undefined && score >= least);
    return new Set(sure.map(({track_id: track}) => track));
  }

  series(of) {
    return this.#results.map(of);
  }
}

export const middle = ([x1, y1, x2, y2]) => [(x1 + x2) / 2, (y1 + y2) / 2];

// Accepted by the edge to stored by the cloud, milliseconds; two clocks, so never below 0.
export const latency = (result) => Math.max(0, Date.parse(result.stored_at) - Date.parse(result.accepted_at));

export const isNewer = (a, b) => a.number > b.number || (a.number < b.number && a.stored_at > b.stored_at);
