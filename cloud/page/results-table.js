// The most recent results of every camera, as a table that can be filtered, held still, and read back into the past.

import {results} from "./api.js";
import {bytes, milliseconds, score, share, timeWithTenths} from "./format.js";
import {isNewer, latency} from "./history.js";
import {hueOfLabel} from "./label-colour.js";
import {parts, say} from "./parts.js";
import {repaint} from "./repaint.js";

const PAGE = 30;
const LONGEST = 400;
const NAMED = 4;
const LABELS = 200;

// Does one detection of this result meet both bounds? The question the API answers for label= and min_score=.
export function meets(result, {camera, label, min_score}) {
  if (camera && result.camera !== camera) return false;
  if (!label && !(min_score > 0)) return true;
  return result.detections.some((one) => (!label || one.label === label) && one.score >= min_score);
}

export class ResultsTable {
  every = 250;
  #filter = {camera: "", label: "", min_score: 0};
  #fresh = [];
  #next = null;
  #newest = null;
  #length = PAGE;
  #labels = new Set();
  #loading = new AbortController();
  #loaded = false;
  #paused = false;
  #touched = false;
  least = 0;

  // onHold(result): somebody wants that frame shown. least: the least score that is named, unless the filter says.
  constructor(root, {onHold}) {
    Object.assign(this, {root, onHold, body: root.querySelector("tbody"), note: root.querySelector("#results-note")});
    this.form = root.querySelector("#filter");
    this.pause = root.querySelector("#pause");
    this.older = root.querySelector("#older");
    this.#listen();
  }

  #listen() {
    let typing = 0;
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("input", () => {
      const least = Number(this.form.elements.min_score.value);
      say(this.form.querySelector("output"), least ? score(least) : "any");
      clearTimeout(typing);
      typing = setTimeout(() => this.load(), 250);
    });
    this.older.addEventListener("click", () => this.#loadOlder());
    this.pause.addEventListener("click", () => this.#setPaused(!this.#paused));
    for (const [name, touched] of [["pointerenter", true], ["pointerleave", false], ["focusin", true], ["focusout", false]]) {
      this.body.addEventListener(name, (event) => {
        this.#touched = touched && event.pointerType !== "touch";
        repaint(this);
      });
    }
  }

  #setPaused(paused) {
    this.#paused = paused;
    this.pause.setAttribute("aria-pressed", paused);
    say(this.pause, paused ? "Resume" : "Pause");
    repaint(this);
  }

  get still() {
    return this.#paused || this.#touched;
  }

  cameras(names) {
    const {camera} = this.form.elements;
    const known = new Set([...camera.options].map(({value}) => value));
    for (const name of names) if (!known.has(name)) camera.add(new Option(name, name));
  }

  // A result as it happens.
  add(result) {
    this.#learn(result);
    if ((this.#newest && !isNewer(result, this.#newest)) || !meets(result, this.#filter)) return;
    this.#newest = result;
    this.#fresh.unshift(result);
    this.#fresh.length = Math.min(this.#fresh.length, PAGE);
    repaint(this);
  }

  #learn({detections}) {
    for (const {label} of detections) {
      if (this.#labels.has(label) || this.#labels.size >= LABELS) continue;
      this.#labels.add(label);
      this.root.querySelector("datalist").append(new Option(label, label));
    }
  }

  // From the beginning, by the filter as it stands. What happens meanwhile waits, and joins what is loaded.
  async load() {
    const {camera, label, min_score} = this.form.elements;
    this.#filter = {camera: camera.value, label: label.value.trim(), min_score: Number(min_score.value)};
    this.#fresh = [];
    this.#newest = null;
    this.#loading.abort();
    const loading = (this.#loading = new AbortController());
    this.#loaded = false;
    const page = await this.#fetch({});
    if (loading !== this.#loading) return;
    this.#loaded = true;
    if (page) this.#begin(page);
  }

  #begin(page) {
    const [newest = null] = page.results;
    this.#fresh = this.#fresh.filter((result) => !newest || isNewer(result, newest));
    this.#newest = this.#fresh[0] ?? newest;
    this.#length = PAGE;
    this.body.replaceChildren();
    this.#append(page);
  }

  async #loadOlder() {
    const page = await this.#fetch({cursor: this.#next});
    if (!page) return;
    this.#setPaused(true);
    this.#length = Math.min(LONGEST, this.body.rows.length + page.results.length);
    this.#append(page);
  }

  async #fetch(more) {
    const {signal} = this.#loading;
    try {
      return await results({...this.#filter, min_score: this.#filter.min_score || "", limit: PAGE, ...more}, signal);
    } catch (error) {
      if (!signal.aborted) say(this.note, error.message);
      return null;
    }
  }

  #append({results: rows, next}) {
    for (const result of rows) this.#learn(result);
    this.body.append(...rows.map((result) => this.#row(result)));
    this.#next = next;
    repaint(this);
  }

  draw() {
    if (this.#loaded && !this.still && this.#fresh.length) {
      this.body.prepend(...this.#fresh.map((result) => this.#row(result)));
      this.#fresh = [];
      while (this.body.rows.length > this.#length) this.body.rows[this.#length].remove();
    }
    this.older.hidden = !this.#next || this.body.rows.length >= LONGEST;
    say(this.note, this.#remark());
  }

  #remark() {
    const filtered = this.#filter.camera || this.#filter.label || this.#filter.min_score;
    if (this.body.rows.length === 0 && this.#fresh.length === 0) return filtered ? "No stored result matches this filter." : "";
    if (this.#paused) return "Held still until you resume.";
    return this.#touched ? "Held still while you are on it." : "";
  }

  // Those that were asked for, as the API too shows them.
  #matching({detections}) {
    const {label, min_score} = this.#filter;
    return detections.filter((one) => one.score >= (min_score || this.least) && (!label || one.label === label));
  }

  #row(result) {
    const row = document.getElementById("result-row").content.firstElementChild.cloneNode(true);
    const cells = parts(row);
    cells.time.textContent = timeWithTenths(result.captured_at);
    cells.time.title = `Hold this frame on its camera\n${result.captured_at}`;
    cells.time.addEventListener("click", () => this.onHold(result));
    cells.camera.textContent = result.camera;
    cells.found.append(...chips(this.#matching(result)));
    cells.bytes.textContent = bytes(result.bytes.coded);
    cells.share.textContent = share(result.bytes.coded, result.bytes.source);
    cells.latency.textContent = milliseconds(latency(result));
    return row;
  }
}

// One chip a label: its colour, how many, the best score.
function chips(detections) {
  const best = new Map();
  for (const {label, score: value} of detections) {
    const known = best.get(label) ?? {label, many: 0, value: 0};
    best.set(label, {label, many: known.many + 1, value: Math.max(known.value, value)});
  }
  const sorted = [...best.values()].sort((a, b) => b.value - a.value);
  const shown = sorted.slice(0, NAMED).map(chip);
  if (sorted.length > NAMED) shown.push(word("more", `+${sorted.length - NAMED}`));
  return shown.length ? shown : [word("more", "nothing")];
}

function chip({label, many, value}) {
  const element = word("chip", many > 1 ? `${many} × ${label} ` : `${label} `);
  element.style.setProperty("--hue", hueOfLabel(label));
  element.append(word("value", score(value)));
  return element;
}

function word(name, text) {
  const span = document.createElement("span");
  span.className = name;
  span.textContent = text;
  return span;
}
