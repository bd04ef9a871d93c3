/** What the buttons and keys do. */
import { $ } from "./dom.js";
import { Refused } from "./api.js";

export class Actions {
  constructor(app) {
    this.app = app;
    const label = () => app.settings.label;
    const here = () => ({ z: app.view.z });
    const buttons = {
      "#propagate": () => this.propagate(),
      "#cancel": () => this.cancel(),
      "#next": () => this.next(),
      "#go-suggested": () => this.next(),
      "#accept": () => this.accept(),
      "#accept-all": () => app.edit({ action: "accept_all" }),
      "#reject": () => this.reject(),
      "#undo": () => this.history("undo"),
      "#redo": () => this.history("redo"),
      "#first-slice": () => this.extent("first"),
      "#last-slice": () => this.extent("last"),
      "#no-extent": () => app.edit({ action: "extent", label: label(), range: null }),
      "#absent": () => this.absent(),
      "#clear-label": () => app.edit({ action: "clear_label", ...here(), label: label() }),
      "#clear": () => app.edit({ action: "clear", ...here() }),
      "#take-over": () => this.takeOver(),
      "#preview-apply": () => app.assist.apply(),
      "#preview-drop": () => app.assist.clear(),
    };
    for (const [id, act] of Object.entries(buttons)) $(id).addEventListener("click", act);
    app.store.on("head reset slice suggestion running editor", () => this.show());
    app.settings.on("label", () => this.show());
  }

  /** Which buttons do something now. */
  able() {
    const { store, view } = this.app;
    const may = store.youEdit;
    return {
      "#propagate": may && store.labels.size > 0 && store.running !== "automatic",
      "#next": Boolean(store.suggestion),
      "#accept": may && (store.sliceState(view.z) !== "accepted" || store.proposals.has(view.z)),
      "#accept-all": may && store.proposals.size > 0,
      "#reject": may && store.proposals.has(view.z) && !store.rejected.has(view.z),
      "#undo": may && store.undo !== null,
      "#redo": may && store.redo !== null,
      "#import": may,
      "#automatic": may && !store.running,
    };
  }

  /** Enable what can be done, and say what undo and redo would do. */
  show() {
    const { store } = this.app;
    if (!store.case) return;
    const may = store.youEdit;
    const able = this.able();
    for (const [id, yes] of Object.entries(able)) $(id).disabled = !yes;
    $("#propagate").hidden = Boolean(store.running);
    $("#cancel").hidden = !store.running;
    $("#cancel").disabled = !may;
    $("#automatic").hidden = store.models.length === 0;
    $("#undo").title = store.undo ? `Undo: ${store.undo} (Ctrl+Z)` : "Nothing to undo";
    $("#redo").title = store.redo ? `Redo: ${store.redo} (Ctrl+Y)` : "Nothing to redo";
    $("#suggested").hidden = !store.suggestion || store.sliceState(store.suggestion.z) === "accepted";
    const { z, reason } = store.suggestion ?? {};
    $("#suggestion-reason").textContent = store.suggestion ? `Slice ${z}: ${reason}` : "";
    $("#next").title = store.suggestion
      ? `Go to slice ${z}, where your work helps most (N)`
      : "Propagate first: then this goes to the slice where your work helps most (N)";
  }

  /** POST that is not an edit; refusals are told. */
  async request(path, content) {
    const { app } = this;
    try {
      if (path !== "editor") await app.queue.idle(); // the queue itself may wait for this page to edit
      return await app.api.post(path, content);
    } catch (error) {
      app.tell(error instanceof Refused ? error.message : "The server does not answer; try again.", "error");
      return null;
    }
  }

  /** Ask for a run. What it does is said first: a short one may have ended before its request is answered. */
  async start(path, text, content) {
    this.app.say(text);
    if (!(await this.request(path, content))) this.app.say("");
  }

  async propagate() {
    const { app } = this;
    if (!app.mayEdit() || app.store.running) return;
    if (!app.store.slices.size && !app.queue.length) return app.tell("Nothing to propagate yet: paint a label on a slice first.");
    await this.start("propagate", "Propagating …");
  }

  async cancel() {
    if (!this.app.mayEdit() || !this.app.store.running) return;
    this.app.say("Stopping …"); // the server says when it has, and how far it came
    await this.request("cancel");
  }

  next() {
    const { store, settings, goTo, say } = this.app;
    if (!store.suggestion) return say("No suggestion yet: propagate first.");
    const { z, labels, reason } = store.suggestion;
    if (labels?.length && !labels.includes(settings.label)) settings.chooseLabel(labels[0]);
    goTo({ z });
    say(`Slice ${z}: ${reason}`);
  }

  accept() {
    const { app } = this;
    const { z } = app.view;
    if (!this.able()["#accept"]) return;
    const empty = !app.store.slice(z)?.given.some(Boolean) && !app.store.proposal(z)?.some(Boolean);
    app.edit({ action: "accept", z });
    if (empty) app.tell(`Slice ${z} shows nothing: you have said that no label is on it. Undo takes it back.`);
  }

  reject() {
    const { app } = this;
    if (this.able()["#reject"]) app.edit({ action: "reject", z: app.view.z });
  }

  absent() {
    const { view, settings, edit } = this.app;
    if (settings.label !== null) edit({ action: "absent", z: view.z, label: settings.label });
  }

  /** The chosen label begins or ends on the current slice. */
  extent(end) {
    const { store, settings, view, edit } = this.app;
    const [first, last] = store.extents.get(settings.label) ?? [0, store.depth - 1];
    const range = end === "first" ? [view.z, Math.max(view.z, last)] : [Math.min(view.z, first), view.z];
    edit({ action: "extent", label: settings.label, range });
  }

  /** Undo or redo, and show what it changed. */
  async history(action) {
    const { app } = this;
    app.pointer.cancel();
    const answer = await app.edit({ action });
    if (!answer) return;
    if (!answer.title) return app.say(`Nothing to ${action}.`);
    const touched = Object.keys(answer.changed.slices ?? {}).map(Number);
    if (touched.length === 1 && touched[0] !== app.view.z) app.goTo({ z: touched[0] });
  }

  async takeOver() {
    if (await this.request("editor", { take: true })) this.app.say("You edit now.");
  }
}
