// One camera: its frame (viewer.js), what it costs and how long it takes (meter.js, waterfall.js), what was found.

import {bundleName} from "./bundle-names.js";
import {now} from "./clock.js";
import {DetectionList} from "./detection-list.js";
import {ago, bytes, milliseconds, score, share} from "./format.js";
import {History, latency} from "./history.js";
import {Meter} from "./meter.js";
import {parts, say} from "./parts.js";
import {repaint} from "./repaint.js";
import {TrackList} from "./track-list.js";
import {Viewer} from "./viewer.js";
import {Waterfall} from "./waterfall.js";

// What travels in each mode, in words.
const MODES = {
  split: "The edge sends features; the cloud finishes the network.",
  image: "The edge sends a small picture; the cloud runs the whole network.",
  edge: "The edge runs the whole network and sends what it found.",
};

// Detections made at the edge have no quality, and nothing to agree with but themselves.
function point({provenance, bundle, quality, expected_agreement: expected}) {
  if (provenance === "edge") return "edge · the whole network runs there";
  const words = [provenance, bundleName(bundle), `quality ${quality}`].filter(Boolean);
  if (Number.isFinite(expected)) words.push(`agreement ${score(expected)} expected`);
  return words.join(" · ");
}

const template = document.getElementById("camera-card");

export class CameraCard {
  // Words that change oftener than this cannot be read; the boxes move with every animation frame.
  every = 200;
  history = new History();
  #online = true;
  #onScreen = true;

  constructor({camera, edge}) {
    this.element = template.content.firstElementChild.cloneNode(true);
    this.element.setAttribute("aria-label", `Camera ${camera}`);
    this.parts = parts(this.element);
    this.parts.name.textContent = camera;
    this.parts.edge.textContent = camera === edge ? "" : `via ${edge}`;
    this.bytes = new Meter(this.parts.bytes);
    this.latency = new Meter(this.parts.latency);
    this.waterfall = new Waterfall(this.parts.waterfall);
    this.viewer = new Viewer(this.element, {history: this.history, onChange: () => repaint(this)});
    this.found = new DetectionList(this.parts.count, this.parts.list, {onPoint: (index) => this.viewer.point(index)});
    this.tracks = new TrackList(this.parts.tracked, this.parts.tracks, {
      of: {camera, edge},
      onPoint: (id) => this.viewer.trace(id),
    });
    new IntersectionObserver(([entry]) => this.#seen(entry.isIntersecting), {rootMargin: "200px"}).observe(this.element);
  }

  // What /v1/cameras says of it.
  know({online}) {
    this.#online = online;
    if (this.#onScreen) this.tracks.refresh();
    repaint(this);
  }

  // False for a result it has already.
  add(result) {
    if (!this.history.add(result)) return false;
    this.#online = true;
    if (this.#onScreen) this.#follow();
    return true;
  }

  // The least score that is shown.
  set least(score) {
    this.viewer.least = score;
    repaint(this.viewer);
    repaint(this);
  }

  // Shows one frame, still, until "back to live".
  hold(result) {
    this.viewer.hold(result);
    this.element.scrollIntoView({block: "nearest"});
    this.parts.show.focus({preventScroll: true});
  }

  #seen(onScreen) {
    this.#onScreen = onScreen;
    if (onScreen && this.history.latest) this.#follow();
  }

  #follow() {
    this.viewer.follow(this.history.latest);
    this.tracks.follow(this.history.latest);
    repaint(this);
  }

  draw() {
    const {result} = this.viewer;
    const {latest} = this.history;
    if (!result || !latest) return;
    const {lamp, seen} = this.parts;
    lamp.dataset.online = this.#online;
    say(seen, `${this.#online ? "" : "offline, "}${ago(now() - Date.parse(latest.stored_at))}`);
    this.#measure(latest);
    say(this.parts.point, point(latest));
    this.parts.point.title = MODES[latest.provenance] ?? "";
    this.waterfall.show(result.timing, result.provenance);
    const {detections} = this.viewer;
    this.found.show(detections, result.detections.length - detections.length);
    this.viewer.describe();
  }

  #measure(latest) {
    this.bytes.show(this.history.series(({bytes: {coded}}) => coded), {
      reading: bytes(latest.bytes.coded),
      aside: `of ${bytes(latest.bytes.source)}: ${share(latest.bytes.coded, latest.bytes.source)}`,
      told: bytes,
    });
    const times = this.history.series(latency);
    const middle = [...times].sort((a, b) => a - b)[times.length >> 1];
    this.latency.show(times, {
      reading: milliseconds(latency(latest)),
      aside: `median ${milliseconds(middle)}`,
      told: milliseconds,
    });
  }
}
