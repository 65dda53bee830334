// A part of a picture, chosen with the pointer (a box is drawn) or the keyboard (arrows move it, with Shift they make
// it larger or smaller, Enter takes it).

import {count} from "./format.js";

const LEAST = 16;
const FIRST = 3;
const STEP = 16;
const WAYS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};

const within = (value, least, most) => Math.round(Math.min(Math.max(value, least), Math.max(least, most)));

export const told = ({width, height}) => `${count(width)} × ${count(height)}`;

export class Part {
  #size = {width: 0, height: 0};
  #box = null;
  #from = null;

  // frame: the element that the picture fills; box: the one that shows what is chosen.
  // onTake: called with {x, y, width, height} in pixels of the picture.
  constructor(frame, box, {onTake}) {
    Object.assign(this, {frame, box, onTake});
    frame.addEventListener("pointerdown", (event) => this.#press(event));
    frame.addEventListener("pointermove", (event) => this.#from && this.#choose(between(this.#from, this.#at(event))));
    frame.addEventListener("pointerup", (event) => this.#release(event));
    frame.addEventListener("pointercancel", () => (this.#from = null));
    box.addEventListener("keydown", (event) => this.#key(event));
  }

  // A box in the middle of a picture of this size, to begin with.
  begin({width, height}) {
    this.#size = {width, height};
    const [across, down] = [width / FIRST, height / FIRST];
    this.box.hidden = false;
    this.frame.dataset.choosing = "";
    this.#choose({x: (width - across) / 2, y: (height - down) / 2, width: across, height: down});
  }

  end() {
    this.box.hidden = true;
    this.#from = null;
    delete this.frame.dataset.choosing;
  }

  #press(event) {
    if (this.box.hidden || event.button !== 0) return;
    event.preventDefault();
    this.frame.setPointerCapture(event.pointerId);
    this.#from = this.#at(event);
  }

  // A click that draws no box takes nothing: the box is where the click was, and Enter takes it.
  #release(event) {
    if (!this.#from) return;
    const drawn = between(this.#from, this.#at(event));
    this.#from = null;
    this.box.focus({preventScroll: true});
    if (Math.max(drawn.width, drawn.height) >= LEAST / 2) this.onTake(this.#choose(drawn));
  }

  #key(event) {
    const way = WAYS[event.key];
    if (event.key !== "Enter" && !way) return;
    event.preventDefault();
    if (!way) return this.onTake(this.#box);
    const {x, y, width, height} = this.#box;
    const [right, down] = way.map((step) => step * STEP);
    if (event.shiftKey) this.#choose({x, y, width: width + right, height: height + down});
    else this.#choose({x: x + right, y: y + down, width, height});
  }

  // Shows a box, whole and inside the picture, and gives it back.
  #choose(wanted) {
    const size = this.#size;
    const width = within(wanted.width, Math.min(LEAST, size.width), size.width);
    const height = within(wanted.height, Math.min(LEAST, size.height), size.height);
    const [x, y] = [within(wanted.x, 0, size.width - width), within(wanted.y, 0, size.height - height)];
    this.#box = {x, y, width, height};
    const share = {left: x / size.width, top: y / size.height, width: width / size.width, height: height / size.height};
    for (const [name, part] of Object.entries(share)) this.box.style.setProperty(name, `${100 * part}%`);
    this.box.setAttribute("aria-label", `Part to fetch: ${told(this.#box)} pixels at ${x}, ${y}`);
    return this.#box;
  }

  #at({clientX, clientY}) {
    const {left, top, width, height} = this.frame.getBoundingClientRect();
    const [x, y] = [(clientX - left) / width, (clientY - top) / height].map((share) => Math.min(1, Math.max(0, share)));
    return {x: x * this.#size.width, y: y * this.#size.height};
  }
}

const between = (a, b) => ({
  x: Math.min(a.x, b.x), y: Math.min(a.y, b.y), width: Math.abs(a.x - b.x), height: Math.abs(a.y - b.y),
});

// The picture on show with this part of another one in its place, as a file.
export async function patched(picture, blob, {x, y, width, height}) {
  const other = await createImageBitmap(blob);
  const canvas = Object.assign(document.createElement("canvas"), {width: other.width, height: other.height});
  const pen = canvas.getContext("2d");
  pen.drawImage(picture, 0, 0);
  pen.drawImage(other, x, y, width, height, x, y, width, height);
  other.close();
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}
