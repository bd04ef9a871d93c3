/** The work list: which case is open, which others there are, which are done. */
import { $, count, make } from "./dom.js";

const STATES = { new: "○ new", begun: "◐ begun", done: "● done" };

export class WorkList {
  /** @param open called with the key of the case to open */
  constructor(app, open) {
    Object.assign(this, { app, open });
    this.cases = [];
    $("#cases").addEventListener("click", async () => {
      await this.load();
      $("#cases-dialog").showModal();
    });
  }

  /** @returns the list as the server gives it */
  async load() {
    const list = await this.app.api.worklist();
    this.cases = list.cases;
    $("#cases").hidden = this.cases.length < 2;
    $("#cases").textContent = `Cases (${this.cases.filter((row) => row.state === "done").length}/${this.cases.length})`;
    $("#case-list").replaceChildren(...this.cases.map((row) => this.#row(row)));
    return list;
  }

  #row({ case: key, name, state, key_slices: keys, labels, edited }) {
    const current = key === this.app.api.case;
    const done = state === "done";
    const when = edited ? new Date(edited).toLocaleString() : "";
    return make(
      "div",
      { class: current ? "row current" : "row", role: "listitem" },
      make("button", {
        text: name ?? key,
        "aria-current": current ? "true" : null,
        onclick: () => {
          $("#cases-dialog").close();
          if (!current) this.open(key);
        },
      }),
      make("span", { class: "dim", text: `${count(keys, "key slice")}, ${count(labels, "label")}`, title: when }),
      make("span", { text: STATES[state] ?? state }),
      make("button", {
        text: done ? "Reopen" : "Done",
        onclick: async () => {
          await this.app.api.markDone(key, !done);
          await this.load();
        },
      }),
    );
  }
}
