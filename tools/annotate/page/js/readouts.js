/** What is written beside the planes: slice, place, HU, letters, settings of tools, the preview. */
import { $, count } from "./dom.js";
import { KINDS } from "./ribbon_marks.js";

export class Readouts {
  constructor(app) {
    this.app = app;
    const { settings, assist, store } = app;
    settings.on("label tool option", () => this.settings());
    settings.on("tool", () => app.say($("#tool-hint").textContent));
    assist.on("change", () => this.preview());
    store.on("reset", () => this.letters());
    this.settings();
  }

  slice() {
    const { store, view, ribbon, axial } = this.app;
    const mm = (view.z * store.spacing[0]).toFixed(1);
    $("#slice-number").textContent = `Slice ${view.z} / ${store.depth - 1}  ·  ${mm} mm`;
    const { state, complete, confidence } = ribbon.describe(view.z);
    let text = state === "none" ? "" : KINDS[state].text;
    if (complete && state !== "accepted") text += ", accepted";
    if (state === "proposed" && confidence !== null) text += `, lowest confidence ${confidence.toFixed(2)}`;
    $("#slice-state").textContent = text;
    const { zoom } = axial.viewport;
    $("#zoom-value").textContent = Math.abs(zoom - 1) > 0.01 ? `${zoom.toFixed(1)}×` : "";
  }

  /** HU and label under the pointer; null: it is elsewhere. */
  hover(at) {
    const { store, view, image } = this.app;
    let text = "";
    if (at) {
      const i = at.y * store.width + at.x;
      const given = store.slice(view.z)?.given[i];
      const label = store.labels.get(store.shown(view.z, i));
      const hu = image.hu(view.z, at.y, at.x);
      text = `x ${at.x}  y ${at.y}  ·  ${hu ?? "–"} HU`;
      if (label) text += `  ·  ${label.name}${given ? "" : " (proposed)"}`;
    }
    $("#hover-value").textContent = text;
  }

  window_() {
    const { level, width, preset } = this.app.view.window;
    $("#window-value").textContent = `L ${level}  W ${width}`;
    for (const button of $("#windows").children) {
      button.setAttribute("aria-pressed", String(button.dataset.window === preset?.id));
    }
  }

  letters() {
    const { x, y, z } = this.app.store.letters;
    const put = (pane, [left, right], [top, bottom]) => {
      for (const [side, letter] of Object.entries({ left, right, top, bottom })) {
        pane.querySelector(`.letter.${side}`).textContent = letter;
      }
    };
    put($("#axial-pane"), x, y);
    put($("#sagittal").parentElement, y, [z[1], z[0]]);
    put($("#coronal").parentElement, x, [z[1], z[0]]);
  }

  settings() {
    const { settings } = this.app;
    $("#axial-pane").dataset.tool = settings.tool;
    $("#radius-value").textContent = `${2 * settings.radius + 1} px`;
    $("#tolerance-value").textContent = `${settings.tolerance} HU`;
  }

  preview() {
    const { preview, busy } = this.app.assist;
    $("#preview").hidden = !preview && !busy;
    $("#preview-apply").disabled = !preview;
    $("#preview-text").textContent = preview ? `Preview: ${count(preview.pixels, "pixel")}` : "Working …";
    this.app.axial.drawFront();
  }
}
