/** The work list: which case is open, which others there are, which are done, and which comes next. */
import { $, count, make } from "./dom.js";

const STATES = { new: "○ new", begun: "◐ begun", done: "● done" };

/** "today 14:05", or the date. */
function when(edited) {
  const at = new Date(edited);
  const today = at.toDateString() === new Date().toDateString();
  return today ? `today ${at.toLocaleTimeString([], { timeStyle: "short" })}` : at.toLocaleDateString();
}

export class WorkList {
  /** @param open called with the key of the case to open; its promise ends when that has begun */
  constructor(app, open) {
    Object.assign(this, { app, open });
    this.cases = [];
    this.dialog = $("#cases-dialog");
    $("#cases").addEventListener("click", () => this.show());
    $("#hide-done").addEventListener("change", () => this.draw());
    for (const id of ["#next-case", "#list-next"]) $(id).addEventListener("click", () => this.next());
    for (const id of ["#done-next", "#list-done-next"]) $(id).addEventListener("click", () => this.doneAndNext());
    this.dialog.addEventListener("keydown", (event) => this.#key(event));
  }

  get current() {
    return this.cases.find((row) => row.case === this.app.api.case);
  }

  /** @returns the list as the server gives it */
  async load() {
    const list = await this.app.api.worklist();
    this.cases = list.cases;
    this.draw();
    return list;
  }

  /** Open the dialog, the current case in sight and in focus. */
  async show() {
    if (!(await this.#tried(() => this.load())) || this.cases.length < 2) return;
    this.#tell("");
    if (!this.dialog.open) this.dialog.showModal();
    const row = $("#case-list .current") ?? $("#case-list .row");
    row?.scrollIntoView({ block: "center" });
    row?.querySelector("button").focus();
  }

  /** To the next case that is not done; from the last one on from the first. */
  async next() {
    if (!(await this.#tried(() => this.load()))) return;
    const at = this.cases.indexOf(this.current);
    const others = [...this.cases.slice(at + 1), ...this.cases.slice(0, Math.max(0, at))];
    const next = others.find((row) => row.state !== "done");
    if (next) await this.#go(next.case);
    else if (this.cases.length > 1) this.#tell(this.current?.state === "done" ? "All cases are done." : "All other cases are done.");
  }

  async doneAndNext() {
    const { api, queue } = this.app;
    if (this.cases.length < 2 || !this.current) return;
    const key = api.case;
    await queue.idle(); // what is said of the case comes first
    if (key === api.case && (await this.#mark(key, true))) await this.next();
  }

  async #go(key) {
    this.dialog.close();
    if (key === this.app.api.case) return;
    await this.open(key);
    await this.#tried(() => this.load());
  }

  async #mark(key, done) {
    return this.#tried(async () => {
      await this.app.api.markDone(key, done);
      await this.load();
    });
  }

  /** Whether something worked; says so if not. */
  async #tried(act) {
    try {
      await act();
      return true;
    } catch (error) {
      this.#tell(error.message);
      return false;
    }
  }

  /** In the dialog if it is open, else where the page tells everything. */
  #tell(text) {
    $("#cases-told").textContent = text;
    if (text && !this.dialog.open) this.app.tell(text);
  }

  draw() {
    const { cases } = this;
    const several = cases.length > 1;
    const many = (state) => cases.filter((row) => row.state === state).length;
    for (const id of ["#cases", "#next-case", "#done-next"]) $(id).hidden = !several;
    $("#cases").textContent = `Cases ${many("done")}/${cases.length}`;
    $("#cases").title = `Work list: ${many("done")} of ${cases.length} cases are done (L)`;
    $("#case-state").textContent = several && this.current?.state === "done" ? "done" : "";
    $("#case-count").textContent = `${many("done")} of ${cases.length} done, ${many("begun")} begun, ${many("new")} new`;
    $("#case-share").max = cases.length;
    $("#case-share").value = many("done");
    const focused = $("#case-list").contains(document.activeElement) && document.activeElement.dataset.key;
    const rows = cases.filter((row) => row.state !== "done" || row === this.current || !$("#hide-done").checked);
    $("#case-list").replaceChildren(...rows.map((row) => this.#row(row)));
    if (focused) $(`#case-list [data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  #row({ case: key, state, key_slices: keys, labels, edited }) {
    const current = key === this.app.api.case;
    const done = state === "done";
    const tabindex = current || (!this.current && key === this.cases[0].case) ? 0 : -1;
    const far = keys ? `${count(keys, "key slice")}, ${count(labels, "label")}` : "";
    const spoken = [key, STATES[state].slice(2), far, current && "open now"].filter(Boolean).join(", ");
    const open = { class: "open", text: key, title: key, "aria-label": spoken, "aria-current": current ? "true" : null };
    const mark = { text: done ? "Reopen" : "Done", "aria-label": `${done ? "Reopen" : "Done:"} ${key}` };
    return make(
      "div",
      { class: `row ${state}${current ? " current" : ""}`, role: "listitem" },
      make("button", { ...open, tabindex, "data-key": `open ${key}`, onclick: () => this.#go(key) }),
      make("span", { class: "dim", text: far }),
      make("span", { class: "dim", text: edited ? when(edited) : "", title: edited ? new Date(edited).toLocaleString() : "" }),
      make("span", { class: "state", text: STATES[state] ?? state }),
      make("button", { ...mark, tabindex, "data-key": `mark ${key}`, onclick: () => this.#mark(key, !done) }),
    );
  }

  /** What Shift+N and Shift+D do. @returns whether it was one of them */
  shortcut({ key, shiftKey, repeat }) {
    const act = { N: () => this.next(), D: () => this.doneAndNext() }[key.toUpperCase()];
    if (!act || !shiftKey) return false;
    if (!repeat) act();
    return true;
  }

  /** In the dialog: arrows, Home and End go through the list, D marks a case. */
  #key(event) {
    if (!this.dialog.open) return; // closed just now, and the focus is still in it: the page takes the key
    if (this.shortcut(event)) return event.preventDefault();
    const rows = [...$("#case-list").children];
    const at = rows.indexOf(event.target.closest(".row"));
    if (at < 0) return;
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (to !== undefined) rows[to]?.querySelector("button").focus();
    else if (event.key.toLowerCase() === "d") rows[at].lastElementChild.click();
    else return;
    event.preventDefault();
  }
}
