/** Elements of the page. */

export const $ = (selector) => document.querySelector(selector);

/** An element with attributes (`class`, `title`, `aria-…`, also `text` and listeners such as `onclick`). */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("aria-hidden", "true"); // the button has the name
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

export const hex = (color) => `#${color.map((part) => part.toString(16).padStart(2, "0")).join("")}`;

/** The colour as it is, or lighter where it would be lost on the page's dark ground. */
export function onDark(color) {
  const light = (0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2]) / 255;
  const share = Math.max(0, (0.4 - light) / (1 - light)); // of white
  return hex(color.map((part) => Math.round(part + (255 - part) * share)));
}

export const rgb = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));

/** "1 slice", "3 slices". */
export const count = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;
