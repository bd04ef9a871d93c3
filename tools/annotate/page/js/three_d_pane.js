/** The 3D pane: opened by a button, and only then is the renderer loaded. */
import { $ } from "./dom.js";

const SETTLE_MS = 1200; // after the last change of a label before it is drawn again

export class ThreeDPane {
  constructor(app) {
    this.app = app;
    this.pane = $("#three-d");
    $("#show-3d").addEventListener("click", () => this.toggle());
    $("#expand-3d").addEventListener("click", () => {
      const large = this.pane.classList.toggle("large");
      $("#expand-3d").setAttribute("aria-pressed", String(large));
    });
  }

  async toggle() {
    this.pane.hidden = !this.pane.hidden;
    $("#show-3d").setAttribute("aria-pressed", String(!this.pane.hidden));
    if (this.pane.hidden) return;
    try {
      if (!this.scene) {
        $("#three-d-state").textContent = "Loading …";
        const { Scene } = await import("./three_d.js");
        this.scene = await Scene.on($("#three-d-canvas"));
      }
      await this.#draw();
    } catch (error) {
      $("#three-d-state").textContent = `No 3D here: ${error.message}`;
    }
  }

  /** Something may have changed. */
  touch() {
    if (this.pane.hidden || !this.scene) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#draw(), SETTLE_MS);
  }

  async #draw() {
    $("#three-d-state").textContent = "Working …";
    await this.scene.show(this.app.store);
    $("#three-d-state").textContent = "";
  }
}
