// The live page: the event stream is handed to one card per camera, the totals and the table; /v1/cameras fills in
// what was before. Everything that is remembered is bounded (history.js, results-table.js, MOST_CARDS).

import * as api from "./api.js";
import {CameraCard} from "./camera-card.js";
import {count, score} from "./format.js";
import {follow} from "./events.js";
import {repaint} from "./repaint.js";
import {ResultsTable} from "./results-table.js";
import {Rate, Totals} from "./totals.js";

const MOST_CARDS = 48;
const RECALLED = 100;
const REFRESH_MS = 10_000;
const TICK_MS = 1000;

const at = (id) => document.getElementById(id);
const cards = new Map();
const totals = new Totals(at("totals"), cards);
const table = new ResultsTable(at("results"), {onHold: hold});
let wanted = "";

// Two edges may each have a camera of one name.
const key = ({camera, edge}) => `${camera}/${edge}`;

// The card of a result's camera, made when it is first heard of; undefined when there are too many.
function card(result) {
  const name = key(result);
  if (cards.has(name) || cards.size >= MOST_CARDS) return cards.get(name);
  const made = new CameraCard(result);
  made.least = least();
  cards.set(name, made);
  const place = [...cards.keys()].sort().indexOf(name);
  at("cameras").insertBefore(made.element, at("cameras").children[place] ?? null);
  table.cameras([result.camera]);
  at("empty").hidden = true;
  at("live").hidden = at("results").hidden = false;
  return made;
}

// A row of the table has the detections that were asked for; its frame has them all.
async function hold(row) {
  wanted = row.id;
  const result = await api.result(row.id).catch(() => row);
  if (wanted === row.id) cards.get(key(row))?.hold(result); // else another was clicked meanwhile
}

const least = () => Number(at("least").value);

function showFrom() {
  at("least-told").textContent = score(least());
  for (const one of [table, ...cards.values()]) one.least = least();
}

function arrived(result) {
  card(result)?.add(result);
  totals.rate.add(Date.parse(result.stored_at));
  table.add(result);
  repaint(totals);
}

async function refresh() {
  try {
    const known = await api.cameras();
    alarm("");
    known.sort((a, b) => (a.last_seen < b.last_seen ? 1 : -1));
    for (const camera of known) {
      const shown = card(camera);
      if (camera.last_result) shown?.add(camera.last_result);
      shown?.know(camera);
    }
    table.cameras(known.map(({camera}) => camera));
    at("empty").hidden = cards.size > 0;
    tellOfMore(known.length - cards.size);
  } catch (problem) {
    alarm(`${problem.message}. Trying again.`);
  }
}

function tellOfMore(hidden) {
  at("more-cameras").hidden = hidden <= 0;
  at("more-cameras").textContent = `${count(hidden)} more cameras are in the table below and at /v1/cameras.`;
}

function alarm(text) {
  at("alarm").hidden = text === "";
  at("alarm").textContent = text;
}

function linked(state) {
  at("link").dataset.state = state;
  at("link-word").textContent = state;
}

async function recall() {
  const past = await api.results({limit: RECALLED}).catch(() => ({results: []}));
  for (const result of past.results.reverse()) card(result)?.add(result);
}

function opened() {
  totals.rate = new Rate();
  return Promise.all([recall(), refresh(), table.load()]);
}

// The past before the present: a history only takes what is newer than its latest.
async function begin() {
  await recall();
  follow({onResult: arrived, onState: linked, onOpen: opened});
}

async function copyCommand() {
  const range = document.createRange();
  range.selectNodeContents(at("command"));
  getSelection().removeAllRanges();
  getSelection().addRange(range);
  // Only a secure context has a clipboard; elsewhere the selected text is one keystroke from it.
  const copied = await navigator.clipboard?.writeText(at("command").textContent).then(() => true, () => false);
  at("copy").textContent = copied ? "Copied" : "Selected";
}

at("copy").addEventListener("click", copyCommand);
at("least").addEventListener("input", showFrom);
showFrom();
setInterval(() => document.hidden || refresh(), REFRESH_MS);
setInterval(() => [totals, ...cards.values()].forEach(repaint), TICK_MS);
begin();
