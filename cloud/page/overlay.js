// Detections as labelled boxes on a canvas that lies over the frame, with or without a picture beneath.

import {colour} from "./label-colour.js";
import {named, score} from "./format.js";

const FONT = "600 12px system-ui, sans-serif";
const TAG_HEIGHT = 18;
const TAG_PADDING = 5;
const LONGEST = 24;

// What the boxes are drawn on decides their lightness and the ink of their tags.
const GROUNDS = {
  light: {lightness: 0.56, ink: "#fff", halo: null, fill: 0.1},
  dark: {lightness: 0.79, ink: "#0b1214", halo: null, fill: 0.12},
  picture: {lightness: 0.83, ink: "#0b1214", halo: "rgb(0 0 0 / 0.55)", fill: 0},
};

// across, down: the picture's size in pixels, which the boxes are given in.
// trails: where each track was lately, oldest first: Map of id to [x, y] pairs. traced: one track with all of its way,
// {track_id, points}, which is lifted out; or null. sure: the score from which a box is drawn whole, not dashed.
// ground: "light" | "dark" | "picture"; pointed: index of the detection to lift out, or -1.
export function drawOverlay(canvas, {width: across, height: down, ...facts}, ground, pointed = -1) {
  const {detections, trails, traced, sure} = facts;
  const pen = sized(canvas);
  const {clientWidth: width, clientHeight: height} = canvas;
  const scale = {x: width / across, y: height / down};
  const lifted = (one, index) => (traced ? one.track_id === traced.track_id : index === pointed);
  const fade = traced !== null || pointed >= 0;
  const marks = detections.map((one, index) => mark(one, scale, {lifted: lifted(one, index), fade, sure}));
  const look = GROUNDS[ground];
  for (const one of marks) drawTrail(pen, one, trails.get(one.detection.track_id) ?? [], scale, look);
  for (const one of [...marks].sort((a, b) => area(b) - area(a))) drawBox(pen, one, look);
  if (traced) drawWay(pen, traced, scale, look);
  const placed = [];
  for (const one of [...marks].sort(byPrecedence)) drawTag(pen, one, look, placed, marks, {width, height});
}

// The canvas cleared, its backing store in device pixels, its pen in CSS pixels.
function sized(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.round(side * ratio));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, {width, height});
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  return pen;
}

function mark(detection, scale, {lifted, fade, sure}) {
  const [x1, y1, x2, y2] = detection.box;
  return {
    detection,
    x: x1 * scale.x, y: y1 * scale.y, width: (x2 - x1) * scale.x, height: (y2 - y1) * scale.y,
    lifted,
    faded: fade && !lifted,
    faint: detection.score < sure,
  };
}

const area = ({width, height}) => width * height;
const byPrecedence = (a, b) => b.lifted - a.lifted || b.detection.score - a.detection.score;

// The older, the fainter.
function drawTrail(pen, {detection, faded}, points, scale, look) {
  pen.lineWidth = 2;
  pen.lineCap = "round";
  pen.strokeStyle = colour(detection, look.lightness);
  for (let i = 1; i < points.length; i += 1) {
    pen.globalAlpha = (faded ? 0.2 : 0.9) * (i / points.length);
    pen.beginPath();
    pen.moveTo(points[i - 1][0] * scale.x, points[i - 1][1] * scale.y);
    pen.lineTo(points[i][0] * scale.x, points[i][1] * scale.y);
    pen.stroke();
  }
}

// All of a track's way, from a ring to a dot.
function drawWay(pen, traced, scale, look) {
  const points = traced.points.map(([x, y]) => [x * scale.x, y * scale.y]);
  if (!points.length) return;
  const ends = [points[0], points.at(-1)].map(([x, y]) => {
    const end = new Path2D();
    end.arc(x, y, 4, 0, 2 * Math.PI);
    return end;
  });
  const way = new Path2D();
  points.forEach(([x, y]) => way.lineTo(x, y));
  pen.globalAlpha = 1;
  pen.lineJoin = "round";
  for (const [style, width] of [[look.halo, 5], [colour(traced, look.lightness), 2.5]]) {
    if (!style) continue;
    Object.assign(pen, {strokeStyle: style, lineWidth: width});
    for (const path of [way, ...ends]) pen.stroke(path);
  }
  pen.fillStyle = colour(traced, look.lightness);
  pen.fill(ends[1]);
}

function drawBox(pen, {detection, x, y, width, height, lifted, faded, faint}, look) {
  pen.globalAlpha = faded ? 0.3 : 1;
  pen.setLineDash(faint ? [6, 4] : []);
  pen.beginPath();
  pen.roundRect(x, y, width, height, Math.min(4, width / 2, height / 2));
  if (look.fill) {
    pen.fillStyle = colour(detection, look.lightness, lifted ? 2.5 * look.fill : look.fill);
    pen.fill();
  }
  if (look.halo) {
    pen.strokeStyle = look.halo;
    pen.lineWidth = 4;
    pen.stroke();
  }
  pen.strokeStyle = colour(detection, look.lightness);
  pen.lineWidth = lifted ? 3 : 1.75;
  pen.stroke();
  pen.setLineDash([]);
}

// A tag names its box, with the score where the box is wide enough for both, and never hides another tag or a small box.
// Where there is no such place the box stays without one: the list beside the frame names everything.
function drawTag(pen, one, look, placed, marks, frame) {
  const {detection, x, y, width, lifted, faded} = one;
  pen.font = FONT;
  const space = (text) => Math.ceil(pen.measureText(text).width) + 2 * TAG_PADDING;
  const full = named(detection);
  const name = full.length > LONGEST ? `${full.slice(0, LONGEST - 1)}…` : full;
  const whole = `${name} ${score(detection.score)}`;
  const text = lifted || space(whole) <= width ? whole : name;
  const tag = {x: Math.max(0, Math.min(x - 1, frame.width - space(text))), y, width: space(text), height: TAG_HEIGHT};
  const place = places(one, tag, placed, marks, frame)[0] ?? (lifted && {...tag, y: Math.max(0, y)});
  if (!place) return;
  placed.push(place);
  pen.globalAlpha = faded ? 0.3 : 1;
  pen.fillStyle = colour(detection, look.lightness);
  pen.beginPath();
  pen.roundRect(place.x, place.y, place.width, place.height, 4);
  pen.fill();
  pen.fillStyle = look.ink;
  pen.textBaseline = "middle";
  pen.fillText(text, place.x + TAG_PADDING, place.y + TAG_HEIGHT / 2 + 0.5);
}

// Where a tag may be: above its box, inside at the top, below, inside at the bottom.
function places(one, tag, placed, marks, frame) {
  const {y, height} = one;
  return [y - TAG_HEIGHT - 1, y + 1, y + height + 1, y + height - TAG_HEIGHT - 1]
    .filter((top) => top >= 0 && top + TAG_HEIGHT <= frame.height)
    .map((top) => ({...tag, y: top}))
    .filter((place) => !placed.some((other) => meet(place, other)))
    .filter((place) => !marks.some((mark) => isSmall(mark) && meet(place, mark)));
}

const isSmall = ({width, height}) => Math.min(width, height) < 2 * TAG_HEIGHT;

const meet = (a, b) =>
  a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
