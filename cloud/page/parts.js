// Elements by their data-is name: {name: element}. Of two with one name the first in the document wins.

export function parts(root) {
  const found = {};
  for (const element of root.querySelectorAll("[data-is]")) found[element.dataset.is] ??= element;
  return found;
}

// Text is only ever set here, as text; an unchanged one is left alone, so that a selection in it survives.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
