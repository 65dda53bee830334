// Results come faster than a screen can show them. Whoever has news says repaint(part); part.draw() then runs once in
// the next animation frame, however much news there was, and no oftener than part.every milliseconds.

const waiting = new Set();
let requested = false;

export function repaint(part) {
  waiting.add(part);
  request();
}

function request() {
  if (requested || waiting.size === 0) return;
  requested = true;
  requestAnimationFrame(paint);
}

function paint(now) {
  requested = false;
  for (const part of waiting) {
    if (now - (part.drawnAt ?? -Infinity) < (part.every ?? 0)) continue;
    waiting.delete(part);
    part.drawnAt = now;
    part.draw();
  }
  request();
}
