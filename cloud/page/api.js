// The cloud's HTTP API: what the page reads, and the errors it may read instead. Events are in events.js.

import {heard} from "./clock.js";

// An answer of application/problem+json, or its nearest equivalent when the network is the problem.
export class Problem extends Error {
  // name: the stable end of its type.
  constructor(status, title, detail = "", name = "") {
    super(detail ? `${title}: ${detail}` : title);
    Object.assign(this, {status, title, detail, name});
  }
}

async function ask(path, {params = {}, signal} = {}) {
  const url = new URL(path, document.baseURI);
  for (const [name, value] of Object.entries(params)) {
    if (value !== "" && value !== null && value !== undefined) url.searchParams.set(name, value);
  }
  try {
    const answer = await fetch(url, {signal, headers: {Accept: "application/json, image/*"}});
    heard(answer);
    return answer;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The cloud does not answer");
  }
}

async function problemOf(answer) {
  const told = await answer.json().catch(() => ({}));
  const text = (value) => (typeof value === "string" ? value : "");
  const name = text(told.type).split(":").at(-1);
  return new Problem(answer.status, text(told.title) || `HTTP ${answer.status}`, text(told.detail), name);
}

async function json(path, options) {
  const answer = await ask(path, options);
  if (!answer.ok) throw await problemOf(answer);
  return answer.json();
}

export const cameras = async () => (await json("v1/cameras")).cameras;

// filter: camera, label, min_score, limit, cursor; what is empty is left out.
export const results = (filter, signal) => json("v1/results", {params: filter, signal});

// filter: camera, edge, limit.
export const tracks = async (filter) => (await json("v1/tracks", {params: filter})).tracks;

// One track with its path.
export const track = (id) => json(`v1/tracks/${encodeURIComponent(id)}`);

// What frames may be coded with: digests and names.
export const bundles = async () => (await json("v1/bundles")).bundles;

export const result = (frame) => json(`v1/frames/${encodeURIComponent(frame)}`);

const PATIENCE_MS = 60_000;
const image = (frame) => `v1/frames/${encodeURIComponent(frame)}/image`;

// A picture of one frame, once its edge has sent it: 202 says "asked for, come back after Retry-After".
// params: layer, and roi where a part is enough.
export async function picture(frame, params, signal) {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const answer = await ask(image(frame), {params, signal});
    if (answer.status === 200) return answer.blob();
    if (answer.status !== 202) throw await problemOf(answer);
    if (performance.now() > deadline) throw new Problem(0, "The edge did not send the picture within a minute");
    await pause(retryAfter(answer), signal);
  }
}

// How many bytes of these layers came from the edge: what is shown is another file, made of them.
export async function layerBytes(frame, names) {
  const {layers} = await json(`v1/frames/${encodeURIComponent(frame)}/layers`);
  return layers.filter(({name}) => names.includes(name)).reduce((sum, layer) => sum + layer.bytes, 0);
}

// Retry-After in seconds, held between a fifth of a second and five.
function retryAfter(answer) {
  const seconds = Number.parseFloat(answer.headers.get("Retry-After"));
  return 1000 * Math.min(5, Math.max(0.2, Number.isFinite(seconds) ? seconds : 1));
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal.addEventListener("abort", stop, {once: true});
  });
}
