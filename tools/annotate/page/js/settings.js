/**
 * The chosen tool and label with their settings, and the strip of options above the axial plane.
 *
 * Emits "tool", "label" and "option" (name).
 */
import { Emitter } from "./emitter.js";

const KEPT = ["radius", "low", "high", "tolerance", "eraseOnly", "follow"];
const RADIUS = { min: 0, max: 80 };
const HINTS = {
  brush: "Brush: drag to paint the chosen label.",
  eraser: "Eraser: drag to take away any label that is not locked.",
  threshold: "Threshold brush: paints only where the HU lie in the range.",
  polygon: "Corners by clicks; Enter closes, Backspace goes back.",
  fill: "Click inside a closed outline of the label.",
  wand: "Click into the structure; a higher tolerance takes more.",
  scribble: "Scribble inside, with Shift outside, until it fits; Enter applies.",
  box: "Drag a box round the structure; Enter applies what is found.",
  pan: "Drag to move, click to place the cursor.",
};

export class Settings extends Emitter {
  constructor(root) {
    super();
    this.tool = "brush";
    this.previousTool = "eraser";
    this.label = null;
    Object.assign(this, { radius: 6, low: 0, high: 150, tolerance: 35, eraseOnly: false, follow: true, side: "inside" });
    try {
      const kept = JSON.parse(localStorage.getItem("keyslice.tools") ?? "{}");
      for (const name of KEPT) if (typeof kept[name] === typeof this[name]) this[name] = kept[name];
    } catch {
      localStorage.removeItem("keyslice.tools"); // unreadable: the defaults hold
    }
    this.root = root;
    for (const button of root.querySelectorAll("[data-tool]")) {
      button.addEventListener("click", () => this.choose(button.dataset.tool));
    }
    for (const input of root.querySelectorAll("[data-option]")) {
      input.addEventListener("input", () => this.#read(input));
    }
    this.#show();
  }

  choose(tool) {
    if (tool !== this.tool) this.previousTool = this.tool;
    this.tool = tool;
    this.#show();
    this.emit("tool");
  }

  /** Brush to eraser; anything else to the brush. */
  swap() {
    this.choose(this.tool === "brush" ? "eraser" : "brush");
  }

  chooseLabel(value) {
    this.label = value;
    this.emit("label");
  }

  set(name, value) {
    if (name === "radius") value = Math.max(RADIUS.min, Math.min(RADIUS.max, value));
    if (this[name] === value) return;
    this[name] = value;
    localStorage.setItem("keyslice.tools", JSON.stringify(Object.fromEntries(KEPT.map((key) => [key, this[key]]))));
    this.#show();
    this.emit("option", name);
  }

  /** One step smaller or larger; big brushes take bigger steps. */
  resize(direction) {
    this.set("radius", this.radius + direction * Math.max(1, Math.round(this.radius / 8)));
  }

  #read(input) {
    if (input.type === "radio") this.set(input.dataset.option, input.value);
    else if (input.type === "checkbox") this.set(input.dataset.option, input.checked);
    else if (Number.isFinite(input.valueAsNumber)) this.set(input.dataset.option, Math.round(input.valueAsNumber));
  }

  #show() {
    for (const button of this.root.querySelectorAll("[data-tool]")) {
      button.setAttribute("aria-pressed", String(button.dataset.tool === this.tool));
    }
    for (const group of this.root.querySelectorAll("[data-for]")) {
      group.hidden = !group.dataset.for.split(" ").includes(this.tool);
    }
    for (const input of this.root.querySelectorAll("[data-option]")) {
      const value = this[input.dataset.option];
      if (input.type === "radio") input.checked = input.value === value;
      else if (input.type === "checkbox") input.checked = value;
      else if (document.activeElement !== input || input.type === "range") input.value = value;
    }
    this.root.querySelector("#tool-hint").textContent = HINTS[this.tool] ?? "";
  }
}
