// Where a frame's time went: one bar from the camera's side to the database, in the order of the stages.

import {milliseconds} from "./format.js";
import {parts, say} from "./parts.js";

const STAGES = [
  ["edge", "decode_picture", "compressed picture to network input"],
  ["edge", "front", "first half of the network"],
  ["edge", "code", "what travels to coded bytes"],
  ["edge", "spool", "coded bytes to disk"],
  ["edge", "queue", "waiting to be sent"],
  ["wire", "wire", "edge to cloud"],
  ["cloud", "batch", "waiting for the engine"],
  ["cloud", "decode_features", "coded bytes to what travelled"],
  ["cloud", "back", "second half of the network"],
  ["cloud", "nms", "scores to detections"],
  ["cloud", "store", "detections to rows"],
];

// Where the network runs elsewhere than split in two: the side of a stage, and the stage it follows.
const MOVED = {
  image: {front: ["cloud", "decode_features"]},
  edge: {back: ["edge", "front"], nms: ["edge", "front"]},
};

const rank = (stage) => 10 * STAGES.findIndex(([, name]) => name === stage);

const spoken = (stage) => stage.replaceAll("_", " ");

export class Waterfall {
  #rows;

  constructor(root) {
    this.parts = parts(root);
    this.#rows = STAGES.map(([side, stage, meaning], index) => this.#row(side, stage, meaning, index));
    this.parts.bar.addEventListener("pointerover", ({target}) => this.#name(target.dataset.stage));
    this.parts.bar.addEventListener("pointerleave", () => this.#name());
  }

  #row(side, stage, meaning, index) {
    const segment = document.createElement("span");
    segment.className = side;
    segment.dataset.stage = stage;
    segment.style.setProperty("--nth", index - STAGES.findIndex(([first]) => first === side));
    this.parts.bar.append(segment);
    const [term, value] = [document.createElement("dt"), document.createElement("dd")];
    term.className = side;
    const remark = document.createElement("small");
    remark.textContent = meaning;
    term.append(`${spoken(stage)} `, remark);
    this.parts.table.append(term, value);
    return {home: side, stage, meaning, segment, term, value, spent: NaN};
  }

  show(timing, provenance) {
    for (const row of this.#rows) {
      this.#place(row, MOVED[provenance]?.[row.stage]);
      row.spent = Number.isFinite(timing?.[row.stage]) ? Math.max(0, timing[row.stage]) : NaN;
      row.segment.style.flexGrow = row.spent || 0;
      row.segment.hidden = !(row.spent > 0);
      say(row.value, milliseconds(row.spent));
    }
    say(this.parts.legend, ["edge", "wire", "cloud"].map((side) => `${side} ${milliseconds(this.#sum(side))}`).join("   "));
  }

  #place(row, moved) {
    const [side, follows] = moved ?? [row.home, null];
    if (row.side === side && row.follows === follows) return;
    [row.side, row.follows] = [side, follows];
    for (const element of [row.segment, row.term]) element.className = side;
    for (const element of [row.segment, row.term, row.value]) element.style.order = follows ? rank(follows) + 1 : rank(row.stage);
  }

  #sum(side) {
    const spent = this.#rows.filter((row) => row.side === side && row.spent >= 0).map((row) => row.spent);
    return spent.length ? spent.reduce((sum, value) => sum + value) : NaN;
  }

  #name(stage) {
    const row = this.#rows.find((one) => one.stage === stage);
    this.parts.named.hidden = !row;
    if (row) say(this.parts.named, `${spoken(row.stage)} ${milliseconds(row.spent)}: ${row.meaning}`);
  }
}
