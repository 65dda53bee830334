// The ways in which a frame is looked at: what is said of each, what can be done next, what a frame's codec has.

import {bytes, count, time} from "./format.js";
import {told} from "./part.js";

// What the strip under the frame says. live: follows the camera; held: one frame, boxes only; asking: its picture is
// on the way; glimpsed: so it is, and beneath is what came first; choosing: a part may be chosen; fetching: it is on
// the way; patched: it is here; shown: all of the picture is here; refused: it will not come.
export const NOTES = {
  live: ({live}) =>
    live?.provenance === "image"
      ? "Boxes only: the small picture they were found in was not kept."
      : "Boxes only: the picture stayed at the edge.",
  held: ({held}) => `${named(held)}, boxes only.`,
  asking: ({held}) => `${named(held)}. Asking its edge for the picture …`,
  glimpsed: ({held}) => `${named(held)}, as ${lesser(held)} it. Asking for more …`,
  choosing: ({held}) => `${named(held)}. Draw a box where it should be sharp; or arrows, Shift and Enter.`,
  fetching: ({part}) => `Asking the edge for ${told(part)} pixels …`,
  patched: ({part, fetched}) =>
    `${told(part)} pixels made sharp: ${fetched ? `${bytes(fetched)} fetched` : "they were here already"}. Draw another.`,
  shown: ({held, fetched}) => `${named(held)}. ${bytes(fetched)} of pixels fetched to look at it.`,
  refused: ({held, problem, beneath}) => `${named(held)}. ${reason(problem)}${beneath ? ` ${left(held)}` : ""}`,
};

const REASONS = {
  "not-found": "The cloud does not know this frame",
  "bundle-unknown": "The cloud no longer has what this frame was coded with",
  "pixels-gone": "The edge no longer has this picture",
  "layer-damaged": "What the edge sent was damaged",
  "edge-unavailable": "The edge is out of reach",
};

export const BUTTONS = {
  live: "Show pixels", held: "Show pixels", choosing: "Show all", patched: "Show all", refused: "Try again",
};
export const PART_IN = ["live", "held", "refused"];

export const named = (result) => `Frame ${count(result.number)}, ${time(result.captured_at)}`;

// Of a problem that is not among them its own words.
const reason = ({name, detail, message}) => `${(REASONS[name] ?? (detail || message)).replace(/\.$/, "")}.`;

// What a frame's codec has. Its least picture is a layer of its own, or made of the bytes the frame was sent in.
export const has = (result, name) => result?.layers?.includes(name) ?? false;
export const least = (result) => ["low", "clean"].find((name) => has(result, name));
export const most = (result) => (has(result, "noisy") ? "noisy" : "full");
// All of its picture that can be had: noise is not coded of large pictures. Where nothing is in layers `full` is the original.
export const whole = (result) => (has(result, "clean") && !has(result, "full") ? "clean" : "full");
export const tiled = (result) => has(result, "low") && has(result, "full");
const lesser = (held) => (least(held) ? `its ${least(held)} layer shows` : `the ${bytes(held.bytes.coded)} it was sent in show`);
const left = (held) => (least(held) ? "This is what came before." : "This is what its own bytes show.");
