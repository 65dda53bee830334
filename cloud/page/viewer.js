// One camera's frame: boxes over nothing while live; held still, with its picture beneath, when somebody asks to look.
// Where the frame's own bytes show something of it, that comes first, and the picture takes its place.

import {glimpse, layerBytes, picture, Problem} from "./api.js";
import {bytes, count, score, time} from "./format.js";
import {drawOverlay} from "./overlay.js";
import {parts, say} from "./parts.js";
import {repaint} from "./repaint.js";

const darkness = matchMedia("(prefers-color-scheme: dark)");

// What the strip under the frame says. live: follows the camera; held: one frame, boxes only; asking: its picture is
// on the way; glimpsed: so it is, and beneath is what the frame's bytes show; shown: it is here; refused: it will not come.
const NOTES = {
  live: ({live}) =>
    live?.provenance === "image"
      ? "Boxes only: the small picture they were found in was not kept."
      : "Boxes only: the picture stayed at the edge.",
  held: ({held}) => `${named(held)}, boxes only.`,
  asking: ({held}) => `${named(held)}. Asking its edge for the picture …`,
  glimpsed: ({held}) => `${named(held)}, as the ${bytes(held.bytes.coded)} it was sent in show it. Asking for more …`,
  shown: ({held, fetched}) => `${named(held)}. ${bytes(fetched)} of pixels fetched to look at it.`,
  refused: ({held, problem, beneath}) =>
    `${named(held)}. ${reason(problem)}${beneath ? " This is what its own bytes show." : ""}`,
};

const REASONS = {
  404: "The cloud does not know this frame",
  409: "The cloud no longer has what this frame was coded with",
  410: "The edge no longer has this picture",
  422: "What the edge sent was damaged",
  503: "The edge is out of reach",
};

const BUTTONS = {live: "Show pixels", held: "Show pixels", refused: "Try again"};

const named = (result) => `Frame ${count(result.number)}, ${time(result.captured_at)}`;

const layered = ({layers}) => layers?.includes("base");

const reason = ({status, message}) => `${(REASONS[status] ?? message).replace(/\.$/, "")}.`;

export class Viewer {
  state = "live";
  pointed = -1;
  held = null;
  least = 0;
  #live = null;
  #address = "";
  #asking = new AbortController();

  // onChange: another frame is shown, or it is shown in another way.
  constructor(root, {onChange}) {
    this.parts = parts(root);
    this.onChange = onChange;
    this.parts.show.addEventListener("click", () => this.look());
    this.parts.release.addEventListener("click", () => this.release());
    new ResizeObserver(() => repaint(this)).observe(this.parts.canvas);
    darkness.addEventListener("change", () => repaint(this));
    this.#turn("live");
  }

  // The frame on show.
  get result() {
    return this.held ?? this.#live;
  }

  // Of its detections those that score enough to be shown.
  get detections() {
    return this.result.detections.filter(({score: value}) => value >= this.least);
  }

  follow(result) {
    this.#live = result;
    if (!this.held) repaint(this);
  }

  hold(result) {
    this.#drop();
    this.held = result;
    this.#turn("held");
  }

  release() {
    this.#drop();
    this.held = null;
    this.#turn("live");
    this.parts.show.focus();
  }

  point(index) {
    this.pointed = index;
    repaint(this);
  }

  async look() {
    if (!this.result) return;
    this.hold(this.result);
    this.#turn("asking");
    const {signal} = this.#asking;
    try {
      await this.#glimpse(signal);
      const blob = await picture(this.held.id, signal);
      const fetched = layered(this.held) ? await layerBytes(this.held.id, "full") : blob.size;
      if (await this.#lay(blob, signal)) this.#turn("shown", {fetched});
    } catch (problem) {
      if (!signal.aborted) this.#turn("refused", {problem, beneath: this.#address !== ""});
    }
  }

  async #glimpse(signal) {
    if (!layered(this.held)) return;
    const blob = await glimpse(this.held.id, signal);
    if (blob && (await this.#lay(blob, signal))) this.#turn("glimpsed");
  }

  // Puts a picture beneath the boxes once it can be shown whole. False if nobody wants it any more.
  async #lay(blob, signal) {
    const address = URL.createObjectURL(blob);
    const ready = Object.assign(new Image(), {src: address});
    await ready.decode().catch(() => {
      URL.revokeObjectURL(address);
      throw new Problem(0, "What came is not a picture that can be shown");
    });
    if (signal.aborted) {
      URL.revokeObjectURL(address);
      return false;
    }
    URL.revokeObjectURL(this.#address);
    this.#address = address;
    this.parts.picture.src = address;
    await this.parts.picture.decode().catch(() => {});
    return !signal.aborted;
  }

  #drop() {
    this.#asking.abort();
    this.#asking = new AbortController();
    this.parts.picture.removeAttribute("src");
    if (this.#address) URL.revokeObjectURL(this.#address);
    this.#address = "";
    this.pointed = -1;
  }

  #turn(state, facts = {}) {
    this.state = state;
    const {show, release, picture: image, note} = this.parts;
    say(note, NOTES[state]({held: this.held, live: this.#live, ...facts}));
    note.title = facts.problem?.message ?? "";
    note.closest(".view").dataset.state = state;
    const focused = document.activeElement === show;
    say(show, BUTTONS[state] ?? "");
    show.hidden = !(state in BUTTONS);
    release.hidden = state === "live";
    image.hidden = this.#address === "";
    image.alt = image.hidden ? "" : named(this.held);
    if (focused && show.hidden) release.focus();
    this.onChange();
    repaint(this);
  }

  draw() {
    if (!this.result) return;
    if (this.state === "live") say(this.parts.note, NOTES.live({live: this.#live}));
    const {detections, result: {width, height}} = this;
    const {canvas, frame, nothing} = this.parts;
    frame.style.setProperty("--ratio", width / height);
    const ground = this.#address ? "picture" : darkness.matches ? "dark" : "light";
    drawOverlay(canvas, {width, height, detections}, ground, this.pointed);
    nothing.hidden = detections.length > 0 || this.#address !== "";
    say(nothing, this.result.detections.length ? `nothing from ${score(this.least)} up` : "nothing found in this frame");
  }

  // The frame in words, for those who do not see the canvas.
  describe() {
    const {detections} = this;
    const words = detections.slice(0, 8).map((one) => `${one.label} ${score(one.score)}`);
    if (detections.length > 8) words.push(`${detections.length - 8} more`);
    this.parts.canvas.setAttribute("aria-label", words.length ? `Boxes: ${words.join(", ")}` : "No detections");
  }
}
