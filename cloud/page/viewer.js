// One camera's frame: boxes over nothing while live; held still, with its picture beneath, when somebody asks to look.
// What shows something of it with fewer bytes comes first; the picture then lies over that, and can be wiped off it.
// Where pictures are coded in tiles a part can be had alone.

import {layerBytes, picture, Problem, track} from "./api.js";
import {score} from "./format.js";
import {middle} from "./history.js";
import {BUTTONS, has, least, most, named, NOTES, PART_IN, tiled, whole} from "./looks.js";
import {drawOverlay} from "./overlay.js";
import {Part, patched} from "./part.js";
import {parts, say} from "./parts.js";
import {repaint} from "./repaint.js";

const darkness = matchMedia("(prefers-color-scheme: dark)");

export class Viewer {
  state = "live";
  pointed = -1;
  traced = null;
  bare = false;
  held = null;
  least = 0;
  #live = null;
  #address = "";
  #beneath = "";
  #asking = new AbortController();

  // history: of the camera. onChange: another frame is shown, or it is shown in another way.
  constructor(root, {history, onChange}) {
    Object.assign(this, {history, onChange});
    const {show, part, release, wipe, frame, box, canvas, boxes} = (this.parts = parts(root));
    show.addEventListener("click", () => this.look());
    part.addEventListener("click", () => this.choose());
    release.addEventListener("click", () => this.release());
    boxes.addEventListener("click", () => this.#bare(!this.bare));
    wipe.addEventListener("input", () => this.#wipe(wipe.value));
    this.part = new Part(frame, box, {onTake: (region) => this.#patch(region)});
    new ResizeObserver(() => repaint(this)).observe(canvas);
    darkness.addEventListener("change", () => repaint(this));
    this.#turn("live");
  }

  // The frame on show.
  get result() {
    return this.held ?? this.#live;
  }

  // Of its detections those that score enough to be shown, or are of a track that did a moment ago: what is followed
  // does not flicker.
  get detections() {
    const followed = this.history.followed(this.result, this.least);
    return this.result.detections.filter(({score: value, track_id: id}) => value >= this.least || followed.has(id));
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

  // Shows where a track went, all of its way; undefined: no more.
  async trace(id) {
    if (this.traced?.track_id === id) return;
    const traced = (this.traced = id === undefined ? null : {track_id: id, points: []});
    repaint(this);
    if (!traced) return;
    const {path} = await track(id).catch(() => ({path: []}));
    traced.points = path.map(({box}) => middle(box));
    repaint(this);
  }

  // All of the picture.
  look() {
    return this.#ask(async (held, signal) => {
      const all = whole(held);
      if (has(held, "base") && least(held) !== all && (await this.#lay(await picture(held.id, {layer: "base"}, signal), signal))) {
        this.#turn("glimpsed");
      }
      const blob = await picture(held.id, {layer: all}, signal);
      const fetched = has(held, "base") ? await this.#came() : blob.size;
      if (await this.#lay(blob, signal)) this.#turn("shown", {fetched});
    });
  }

  // The least picture, of which parts can be made sharp.
  choose() {
    return this.#ask(async (held, signal) => {
      if (!(await this.#lay(await picture(held.id, {layer: "base"}, signal), signal))) return;
      this.part.begin(held);
      this.#turn("choosing");
      this.parts.box.focus({preventScroll: true});
    });
  }

  #patch(part) {
    if (this.state === "fetching") return null;
    this.#turn("fetching", {part});
    return this.#try(async (held, signal) => {
      const before = await this.#came();
      const roi = [part.x, part.y, part.width, part.height].join(",");
      const blob = await picture(held.id, {layer: "full", roi}, signal);
      const fetched = (await this.#came()) - before;
      if (await this.#lay(await patched(this.parts.picture, blob, part), signal)) this.#turn("patched", {part, fetched});
    });
  }

  async #ask(what) {
    if (!this.result) return;
    this.hold(this.result);
    this.#turn("asking");
    await this.#try(what);
  }

  async #try(what) {
    const {signal} = this.#asking;
    try {
      await what(this.held, signal);
    } catch (problem) {
      if (signal.aborted) return;
      this.part.end();
      this.#turn("refused", {problem, beneath: this.#address !== ""});
    }
  }

  // Bytes of the layers that are shown.
  #came() {
    return layerBytes(this.held.id, [least(this.held), most(this.held)]);
  }

  // Puts a picture beneath the boxes once it can be shown whole, the first one beneath those after it. False if nobody
  // wants it any more.
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
    if (this.#address && !this.#beneath) {
      this.#beneath = this.#address;
      this.parts.beneath.src = this.#beneath;
      this.#wipe(0);
    } else URL.revokeObjectURL(this.#address);
    this.#address = address;
    this.parts.picture.src = address;
    await this.parts.picture.decode().catch(() => {});
    return !signal.aborted;
  }

  // A picture without what was found in it.
  #bare(bare) {
    this.bare = bare;
    this.parts.boxes.setAttribute("aria-pressed", bare);
    repaint(this);
  }

  // So much of the picture, in percent from the left, is taken off what is beneath.
  #wipe(share) {
    this.parts.wipe.value = share;
    this.parts.frame.style.setProperty("--wipe", `${share}%`);
  }

  #drop() {
    this.#asking.abort();
    this.#asking = new AbortController();
    this.part.end();
    for (const image of [this.parts.picture, this.parts.beneath]) image.removeAttribute("src");
    for (const address of [this.#address, this.#beneath]) if (address) URL.revokeObjectURL(address);
    this.#address = this.#beneath = "";
    this.#wipe(0);
    this.pointed = -1;
  }

  #turn(state, facts = {}) {
    this.state = state;
    const {show, release, picture: image, beneath, note, wiping, lesser: from, fuller: to} = this.parts;
    say(note, NOTES[state]({held: this.held, live: this.#live, ...facts}));
    note.title = facts.problem?.message ?? "";
    note.closest(".view").dataset.state = state;
    const focused = [show, this.parts.part].find((button) => button === document.activeElement);
    say(show, BUTTONS[state] ?? "");
    show.hidden = !(state in BUTTONS);
    release.hidden = state === "live";
    this.#offer();
    image.hidden = this.parts.boxes.hidden = this.#address === "";
    image.alt = image.hidden ? "" : named(this.held);
    beneath.hidden = wiping.hidden = this.#beneath === "";
    say(from, least(this.held) === "clean" ? "clean" : "base");
    say(to, most(this.held));
    if (focused?.hidden) release.focus(); // asked of the button: what is hidden may have lost the focus by now
    this.onChange();
    repaint(this);
  }

  #offer() {
    this.parts.part.hidden = !(PART_IN.includes(this.state) && tiled(this.result));
  }

  draw() {
    if (!this.result) return;
    if (this.state === "live") say(this.parts.note, NOTES.live({live: this.#live}));
    this.#offer();
    const {traced, result: {width, height}} = this;
    const bare = this.bare && this.#address !== "";
    const detections = bare ? [] : this.detections;
    const {canvas, frame, nothing} = this.parts;
    frame.style.setProperty("--ratio", width / height);
    const ground = this.#address ? "picture" : darkness.matches ? "dark" : "light";
    const trails = this.history.trails(this.result);
    drawOverlay(canvas, {width, height, detections, trails, traced, sure: this.least}, ground, this.pointed);
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
