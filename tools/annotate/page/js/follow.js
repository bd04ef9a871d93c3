/** Corrections carry on by themselves: where something has been propagated, what is said next starts it anew. */

const TOLD = ["paint", "erase", "absent", "extent", "clear", "clear_label"];
const CALM_MS = 700; // after the last of them: strokes in a row are one correction

export class Follow {
  constructor(app) {
    this.app = app;
    this.timer = 0;
    app.settings.on("option", (name) => name === "follow" && this.#stop());
    app.queue.on("done", ({ body }) => this.#told(body.action));
  }

  /** The server has taken an edit. */
  #told(action) {
    const { settings, store } = this.app;
    const waits = this.timer > 0;
    this.#stop();
    if (!settings.follow || store.running === "automatic") return;
    const carried = store.proposals.size > 0 || store.running;
    if (!carried || !(TOLD.includes(action) || waits)) return;
    this.timer = setTimeout(() => this.#propagate(), CALM_MS);
  }

  async #propagate() {
    this.#stop();
    const { store, pointer } = this.app;
    if (!store.youEdit || store.running === "automatic") return;
    if (pointer.drag) this.timer = setTimeout(() => this.#propagate(), CALM_MS); // a stroke is under way
    else await this.app.actions.request("propagate");
  }

  #stop() {
    clearTimeout(this.timer);
    this.timer = 0;
  }
}
