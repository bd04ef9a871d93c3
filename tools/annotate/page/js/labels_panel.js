/** The list of labels, and what can be done with the chosen one. */
import { $, hex, icon, make, rgb } from "./dom.js";

export class LabelsPanel {
  constructor(app) {
    this.app = app;
    this.list = $("#labels");
    const { store, settings } = app;
    store.on("head reset", () => this.show());
    store.on("editor", () => this.show());
    settings.on("label", () => this.show());
    $("#add-label").addEventListener("click", () => this.askNew());
    $("#new-label-cancel").addEventListener("click", () => this.#closeNew());
    $("#new-label").addEventListener("submit", (event) => this.#add(event));
    $("#new-label").addEventListener("keydown", (event) => event.key === "Escape" && this.#closeNew());
    $("#rename").addEventListener("click", () => this.rename());
    $("#delete-label").addEventListener("click", () => app.edit({ action: "delete_label", value: settings.label }));
    $("#colour").addEventListener("change", (event) => {
      app.edit({ action: "recolor_label", value: settings.label, color: rgb(event.target.value) });
    });
    this.list.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Ask for a new label's name. */
  askNew() {
    if (!this.app.mayEdit()) return;
    $("#new-label").hidden = false;
    $("#new-label-name").focus();
  }

  #closeNew() {
    $("#new-label").hidden = true;
    $("#new-label-name").value = "";
    this.app.axial.canvas.focus();
  }

  async #add(event) {
    event.preventDefault();
    const name = $("#new-label-name").value.trim();
    if (!name) return;
    const before = new Set(this.app.store.labels.keys());
    this.#closeNew();
    await this.app.edit({ action: "add_label", name });
    const added = [...this.app.store.labels.keys()].find((value) => !before.has(value));
    if (added) this.app.settings.chooseLabel(added);
  }

  /** Choose the label that a digit stands for: the first nine, and 0 for the tenth. */
  chooseByDigit(digit) {
    const value = [...this.app.store.labels.keys()][digit === 0 ? 9 : digit - 1];
    if (value !== undefined) this.app.settings.chooseLabel(value);
  }

  show() {
    const { store, settings } = this.app;
    if (!store.labels.has(settings.label)) settings.label = store.labels.keys().next().value ?? null;
    if (!this.renaming) {
      const focused = this.list.contains(document.activeElement) && document.activeElement.dataset.key;
      this.list.replaceChildren(...[...store.labels.values()].map((label, at) => this.#row(label, at)));
      if (focused) this.list.querySelector(`[data-key="${focused}"]`)?.focus();
    }
    $("#no-labels").hidden = store.labels.size > 0 || !store.case;
    $("#add-label").disabled = !store.youEdit;
    const chosen = store.labels.get(settings.label);
    $("#chosen").hidden = !chosen;
    if (!chosen) return;
    $("#chosen-name").textContent = chosen.name;
    $("#chosen .swatch").style.setProperty("--swatch", hex(chosen.color));
    $("#colour").value = hex(chosen.color);
    for (const control of $("#chosen").querySelectorAll("button, input")) control.disabled = !store.youEdit;
    const extent = store.extents?.get(settings.label);
    $("#extent-value").textContent = extent ? `${extent[0]} – ${extent[1]}` : "";
    $("#no-extent").hidden = !extent;
  }

  #row(label, at) {
    const { app } = this;
    const { value, name, color, visible, locked, key_slices: keys, confidence } = label;
    const chosen = app.settings.label === value;
    const sure = typeof confidence === "number" ? confidence.toFixed(2) : "";
    const spoken = [name, `${keys} key slices`, sure && `confidence ${sure}`, locked && "locked", !visible && "hidden"];
    const swatch = make("span", { class: "swatch" });
    swatch.style.setProperty("--swatch", hex(color));
    const toggle = (what, on, icons, titles) =>
      make(
        "button",
        {
          class: what,
          "aria-pressed": String(on),
          "aria-label": `${titles[0]} ${name}`,
          title: titles[on ? 1 : 0],
          "data-key": `${what}-${value}`,
          tabindex: chosen ? 0 : -1,
          onclick: (event) => {
            event.stopPropagation();
            const key = what === "lock" ? "locked" : "visible";
            app.edit({ action: what, value, [key]: !on });
          },
        },
        icon(icons[on ? 0 : 1]),
      );
    return make(
      "li",
      {
        role: "option",
        "data-label": value,
        "data-key": value,
        "aria-selected": String(chosen),
        "aria-label": spoken.filter(Boolean).join(", "),
        tabindex: chosen ? 0 : -1,
        class: visible ? null : "off",
        onclick: () => app.settings.chooseLabel(value),
        ondblclick: () => this.rename(),
      },
      make("span", { class: "digit", text: at < 10 ? (at + 1) % 10 : "" }),
      swatch,
      make("span", { class: "name", text: name, title: name }),
      make("span", { class: "meta", text: `◆${keys}${sure && `  ${sure}`}`, title: `${keys} key slices${sure && `, confidence ${sure}`}` }),
      toggle("visible", visible, ["eye", "eye-off"], ["Show", "Hide"]),
      toggle("lock", locked, ["lock", "unlock"], ["Lock", "Unlock"]),
    );
  }

  rename() {
    const { store, settings } = this.app;
    const label = store.labels.get(settings.label);
    if (!label || !this.app.mayEdit()) return;
    const place = this.list.querySelector(`[data-label="${label.value}"] .name`);
    const input = make("input", { value: label.name, maxlength: 80, "aria-label": "New name" });
    this.renaming = true;
    const close = (keep) => {
      if (!this.renaming) return;
      this.renaming = false;
      const name = input.value.trim();
      if (keep && name && name !== label.name) this.app.edit({ action: "rename_label", value: label.value, name });
      this.show();
      this.app.axial.canvas.focus();
    };
    input.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter") close(true);
      else if (event.key === "Escape") close(false);
    });
    input.addEventListener("blur", () => close(true));
    input.addEventListener("click", (event) => event.stopPropagation());
    place.replaceChildren(input);
    input.select();
  }

  #key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || event.target.tagName === "INPUT") return;
    event.preventDefault();
    event.stopPropagation();
    const values = [...this.app.store.labels.keys()];
    const at = values.indexOf(this.app.settings.label) + step;
    if (at < 0 || at >= values.length) return;
    this.app.settings.chooseLabel(values[at]);
    this.list.querySelector(`[data-label="${values[at]}"]`).focus();
  }
}
