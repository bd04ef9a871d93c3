/** Help, export, import and automatic start. */
import { $, count, make, onDark } from "./dom.js";
import { legend } from "./ribbon_marks.js";
import { GROUPS } from "./shortcuts.js";

const size = (bytes) => (bytes < 1e5 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

export class Dialogs {
  constructor(app) {
    this.app = app;
    $("#help").addEventListener("click", () => this.help());
    $("#export").addEventListener("click", () => this.#open("#export-dialog"));
    $("#import").addEventListener("click", () => this.#open("#import-dialog"));
    $("#automatic").addEventListener("click", () => this.#automatic());
    for (const dialog of document.querySelectorAll("dialog")) {
      dialog.querySelector('[value="close"]')?.addEventListener("click", () => dialog.close());
      dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside it
    }
    const submit = (id, send) =>
      $(`${id} form`).addEventListener("submit", (event) => {
        event.preventDefault();
        send(new FormData(event.target), event.submitter);
      });
    submit("#export-dialog", (form, button) => this.#export(form, button));
    submit("#import-dialog", (form, button) => this.#import(form, button));
    submit("#automatic-dialog", (form) => this.#startAutomatic(form));
    const row = ([keys, what]) => make("div", {}, make("span", { text: what }), make("span", { class: "keys", text: keys }));
    const group = ([name, keys]) => make("section", {}, make("h3", { text: name }), ...keys.map(row));
    $("#shortcut-list").append(...Object.entries(GROUPS).map(group));
  }

  help() {
    const { store, settings } = this.app;
    const label = store.labels.get(settings.label);
    const [slices, lane] = legend(onDark(label?.color ?? [120, 170, 220]));
    $("#ribbon-legend").replaceChildren(...slices);
    $("#lane-legend").replaceChildren(...lane);
    $("#help-dialog").showModal();
  }

  #open(id) {
    const result = $(`${id} [role="status"]`);
    if (result) result.replaceChildren();
    $(id).showModal();
  }

  /** Do a request of a dialog: its button waits, its outcome is told in the dialog. */
  async #request(id, button, send) {
    const result = $(`${id} [role="status"]`);
    result.className = "";
    result.textContent = "Working …";
    button.disabled = true;
    try {
      // Changes that wait for this page to edit again may wait for long; what is there can be had now.
      if (this.app.store.youEdit || id !== "#export-dialog") await this.app.queue.idle();
      result.replaceChildren(await send());
    } catch (error) {
      result.className = "error";
      result.textContent = error.message;
    }
    button.disabled = false;
  }

  #export(form, button) {
    const content = { kind: form.get("kind"), given_only: form.has("given_only") };
    this.#request("#export-dialog", button, async () => {
      const { name, bytes, url, files = [{ name, url }], notes = [] } = await this.app.api.post("export", content, 300_000);
      const links = files.flatMap((file) => [make("a", { href: file.url, download: file.name, text: file.name }), " "]);
      const waiting = this.app.queue.length;
      if (waiting) notes.unshift(`Without ${count(waiting, "change")} of this page, not sent yet: take over first.`);
      const told = notes.map((note) => make("div", { class: "dim", text: note }));
      return make("span", {}, "Written: ", ...links, `(${size(bytes)})`, ...told);
    });
  }

  #import(form, button) {
    const slices = (form.get("slices").match(/\d+/g) ?? []).join(",");
    this.#request("#import-dialog", button, async () => {
      const { api, store } = this.app;
      const key = store.case;
      const answer = await api.importFile(form.get("file"), form.get("as"), slices);
      if (answer.changed && store.case === key) store.apply(answer.changed);
      const proposed = form.get("as") === "proposals";
      return make("span", { text: proposed ? "Imported as proposals." : "Imported. Undo takes it back." });
    });
  }

  #automatic() {
    const select = $("#automatic-dialog select");
    select.replaceChildren(...this.app.store.models.map((name) => make("option", { value: name, text: name })));
    this.#open("#automatic-dialog");
  }

  async #startAutomatic(form) {
    $("#automatic-dialog").close();
    await this.app.actions.start("automatic", "The model is looking …", { model: form.get("model") });
  }
}
