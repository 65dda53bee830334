// What the page remembers of one camera: its last KEPT results in order, and their running sums. Nothing grows.

const KEPT = 120;

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

  series(of) {
    return this.#results.map(of);
  }
}

// Accepted by the edge to stored by the cloud, milliseconds; two clocks, so never below 0.
export const latency = (result) => Math.max(0, Date.parse(result.stored_at) - Date.parse(result.accepted_at));

export const isNewer = (a, b) => a.number > b.number || (a.number < b.number && a.stored_at > b.stored_at);
