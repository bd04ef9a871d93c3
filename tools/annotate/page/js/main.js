/** The page: its parts, and how they hang together. */
import { Actions } from "./actions.js";
import { Api, Refused, clientName } from "./api.js";
import { Assist } from "./assist.js";
import { AxialView } from "./axial_view.js";
import { CaseLoader } from "./case_loader.js";
import { Dialogs } from "./dialogs.js";
import { $, make } from "./dom.js";
import { Follow } from "./follow.js";
import { CtImage } from "./image.js";
import { LabelsPanel } from "./labels_panel.js";
import { AxialPointer } from "./pointer.js";
import { EditQueue } from "./queue.js";
import { Readouts } from "./readouts.js";
import { Ribbon } from "./ribbon.js";
import { Settings } from "./settings.js";
import { listen } from "./shortcuts.js";
import { SideView } from "./side_view.js";
import { StatusLine } from "./status_line.js";
import { Store } from "./store.js";
import { exposeForTests } from "./test_access.js";
import { ThreeDPane } from "./three_d_pane.js";
import { IntensityWindow, PRESETS } from "./windows.js";
import { WorkList } from "./worklist.js";

class App {
  constructor(client) {
    this.ready = new Promise((resolve) => (this.isReady = resolve));
    this.view = {
      z: 0, cursor: { y: 0, x: 0 }, window: new IntensityWindow(), opacity: 0.35,
      smooth: true, crosshair: true, showMasks: true,
    };
    for (const name of ["goTo", "redraw", "edit", "say", "tell"]) this[name] = this[name].bind(this);
    this.api = new Api(client);
    this.store = new Store();
    this.queue = new EditQueue(this.api, this.store);
    this.image = new CtImage(this.api, this.store);
    this.settings = new Settings(document.body);
    this.assist = new Assist(this);
    this.axial = new AxialView($("#axial"), $("#axial-front"), this);
    this.sides = [new SideView($("#sagittal"), "sagittal", this), new SideView($("#coronal"), "coronal", this)];
    this.ribbon = new Ribbon($("#ribbon"), this);
    this.pointer = new AxialPointer(this);
    this.axial.marks = (...canvas) => {
      this.assist.draw(...canvas, this.view.z);
      this.pointer.draw(...canvas);
    };
    this.readouts = new Readouts(this);
    this.labels = new LabelsPanel(this);
    this.actions = new Actions(this);
    this.follow = new Follow(this);
    this.status = new StatusLine(this);
    this.dialogs = new Dialogs(this);
    this.threeD = new ThreeDPane(this);
    this.loader = new CaseLoader(this);
    this.workList = new WorkList(this, (key) => this.loader.open(key));
    this.#wire();
    listen(this);
  }

  #wire() {
    const { store, queue, image, assist, settings, view } = this;
    store.on("slice", (z) => {
      if (z === view.z) this.redraw("axial");
      this.redraw("rest");
    });
    store.on("head suggestion", () => this.redraw("all"));
    settings.on("label", () => {
      this.redraw("all");
      this.#keepPlace();
    });
    settings.on("option", (name) => name === "tolerance" && assist.again());
    image.on("slab", ({ first, count }) => this.redraw(view.z >= first && view.z < first + count ? "all" : "sides"));
    image.on("progress", (share) => {
      this.say(share < 1 ? `Loading the CT: ${Math.round(100 * share)} %` : `${store.depth} slices loaded.`);
    });
    image.on("failed", (error) => this.tell(error.message, "error"));
    assist.on("failed", (error) => this.tell(error.message, "error"));
    queue.on("done", ({ body, answer }) => answer.title && this.say(this.#sentence(body.action, answer.title)));
    queue.on("refused", ({ error }) => {
      this.tell(`Not done: ${error.message}`, "error");
      this.redraw("all");
    });
    for (const key of ["smooth", "crosshair"]) $(`#${key}`).addEventListener("change", () => this.toggle(key));
    $("#opacity").addEventListener("input", (event) => {
      view.opacity = event.target.valueAsNumber / 100;
      this.redraw("all");
    });
    for (const { id, name, title = name, level, width } of PRESETS) {
      const told = `${title}: level ${level}, width ${width} HU`;
      const choose = () => this.setWindow(level, width);
      $("#windows").append(make("button", { text: name, title: told, "data-window": id, onclick: choose }));
    }
    this.setWindow(PRESETS[0].level, PRESETS[0].width);
    window.addEventListener("beforeunload", (event) => {
      if (queue.length) event.preventDefault(); // changes that the server has not answered
    });
    $("#hint").hidden = localStorage.getItem("keyslice.hint") === "seen";
    $("#hint-close").addEventListener("click", () => {
      $("#hint").hidden = true;
      localStorage.setItem("keyslice.hint", "seen");
    });
  }

  say(text) {
    this.status.say(text);
  }

  tell(text, level) {
    this.status.tell(text, level);
  }

  /** What has been done, by the title that the server gave it; a label's name stays as it is. */
  #sentence(action, title) {
    if (action === "undo") return `Undone: ${title}`;
    if (action === "redo") return `Done again: ${title}`;
    const named = [...this.store.labels.values()].some(({ name }) => title.startsWith(name));
    return named ? title : title[0].toUpperCase() + title.slice(1);
  }

  // Edits.

  /** Whether this page may edit; says so if not. */
  mayEdit() {
    if (!this.store.case) this.tell("The case is still being opened.");
    else if (!this.store.youEdit) this.tell("Another page edits this case: take over to change something.");
    return this.store.youEdit;
  }

  /** Whether the chosen label can be painted; says so if not. */
  mayPaint() {
    if (!this.mayEdit()) return false;
    if (this.settings.tool === "eraser" && !this.settings.eraseOnly) return true; // leaves locked labels by itself
    const label = this.store.labels.get(this.settings.label);
    if (!label) this.labels.askNew();
    else if (label.locked) this.tell(`${label.name} is locked: unlock it to change it.`);
    else if (!label.visible) this.tell(`${label.name} is hidden: show it to paint it.`);
    const [first, last] = this.store.extents.get(label?.value) ?? [0, this.store.depth];
    const within = this.view.z >= first && this.view.z <= last;
    if (label && !within) this.tell(`${label.name} is on slices ${first} to ${last} only: move or remove its marks first.`);
    return Boolean(label && !label.locked && label.visible && within);
  }

  /** Send an edit. @returns the answer, null if there is none */
  async edit(body) {
    return this.mayEdit() ? this.queue.push(body) : null;
  }

  // Looking.

  /** A case has come: look at this place of it, from afar. */
  lookAt(place) {
    for (const plane of [this.axial, ...this.sides]) plane.reset();
    this.goTo(place);
  }

  /** Move the cursor to what is given of z, y, x. */
  goTo({ z = this.view.z, y = this.view.cursor.y, x = this.view.cursor.x }) {
    const { store, view } = this;
    if (!store.case) return;
    const within = (value, size) => Math.max(0, Math.min(size - 1, Math.round(value)));
    z = within(z, store.depth);
    if (z !== view.z) {
      this.pointer.leave();
      this.assist.clear();
    }
    view.z = z;
    view.cursor = { y: within(y, store.height), x: within(x, store.width) };
    this.redraw("all");
    this.#keepPlace();
  }

  /** A reload finds where the person was, and with which label. */
  #keepPlace() {
    const { store, view, settings } = this;
    const place = { z: view.z, ...view.cursor, label: settings.label };
    if (store.case) sessionStorage.setItem(`keyslice.view.${store.case}`, JSON.stringify(place));
  }

  setWindow(level, width) {
    this.view.window.set(level, width);
    this.readouts.window_();
    this.redraw("all");
  }

  toggle(key) {
    this.view[key] = !this.view[key];
    $(`#${key}`).checked = this.view[key];
    this.redraw("all");
  }

  showMasks(show) {
    this.view.showMasks = show;
    this.redraw("all");
  }

  fit() {
    this.axial.viewport.reset();
    this.redraw("axial");
  }

  /** Draw "axial", "sides", "rest" (all but axial) or "all" before the next frame. */
  redraw(what) {
    this.dirty ??= new Set();
    if (!this.dirty.size) requestAnimationFrame(() => this.#draw());
    this.dirty.add(what);
  }

  #draw() {
    const { dirty } = this;
    this.dirty = null;
    if (!this.store.case) return;
    const all = dirty.has("all");
    if (all || dirty.has("axial")) this.axial.draw();
    if (all || dirty.has("sides") || dirty.has("rest")) for (const side of this.sides) side.draw();
    if (all || dirty.has("rest")) {
      this.ribbon.draw();
      this.threeD.touch();
      this.actions.show();
    }
    this.readouts.slice();
  }
}

const address = new URL(location.href);
if (address.searchParams.has("token")) history.replaceState(null, "", `/${address.hash}`); // the cookie has it now
const app = new App(await clientName());
exposeForTests(app);
try {
  await app.loader.start();
} catch (error) {
  if (error instanceof Refused && error.status === 401) app.status.end();
  else app.tell(error.message, "error");
}
