/** Mouse, pen and touch on the axial plane: paint, outline, ask, move, zoom, set the window, scroll. */
import { drawPointerMarks } from "./pointer_marks.js";
import { Stroke } from "./stroke.js";

const CLOSE_PX = 9; // a click this near to the first corner closes a polygon
const WHEEL_STEP = 60; // of deltaY a slice, for wheels and trackpads alike

export class AxialPointer {
  /** @param app the parts that it needs: store, queue, image, view, axial, settings, assist, mayPaint, goTo, ... */
  constructor(app) {
    this.app = app;
    this.drag = null;
    this.hover = null;
    this.polygon = [];
    this.touches = new Map();
    this.wheel = 0;
    const { canvas } = app.axial;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", (event) => this.#cancelled(event));
    canvas.addEventListener("pointerleave", () => this.#hoverAt(null));
    canvas.addEventListener("dblclick", () => this.closePolygon());
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.#scroll(event), { passive: false });
    app.settings.on("tool", () => this.cancel());
    app.settings.on("option", () => this.app.axial.drawFront());
    app.store.on("slice", (z) => this.drag?.stroke?.z === z && this.drag.stroke.rebase());
  }

  /** Pixel under a pointer event; may lie outside the slice. */
  #pixel(event) {
    const at = this.app.axial.viewport.toPlane(event.clientX, event.clientY);
    return { x: Math.floor(at.x), y: Math.floor(at.y) };
  }

  #inside({ x, y }) {
    const { width, height } = this.app.store;
    return x >= 0 && y >= 0 && x < width && y < height;
  }

  #down(event) {
    const { app } = this;
    if (!app.store.case) return;
    app.axial.canvas.setPointerCapture(event.pointerId);
    if (event.pointerType === "touch") {
      this.touches.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (this.touches.size === 2) return this.#beginPinch();
    }
    if (this.drag) return;
    const at = this.#pixel(event);
    const last = { x: event.clientX, y: event.clientY };
    const { tool } = app.settings;
    if (event.button === 1 || (event.button === 0 && tool === "pan")) {
      event.preventDefault();
      this.drag = { kind: "pan", last, from: last, at, left: event.button === 0 };
    } else if (event.button === 2) {
      this.drag = { kind: "window", last };
    } else if (event.button === 0 && this.#inside(at) && app.mayPaint()) {
      if (tool !== "box") app.goTo(at); // a box's corner lies beside the structure: its middle is looked at
      this.#use(tool, at, event);
    }
  }

  #use(tool, at, event) {
    const { app } = this;
    const { settings, view, store } = app;
    if (tool === "brush" || tool === "eraser" || tool === "threshold") {
      const hu = app.image.slice(view.z);
      const { low, high, label, eraseOnly, radius } = settings;
      const erase = tool === "eraser";
      const keep = tool === "threshold" ? (i) => hu !== null && hu[i] >= low && hu[i] <= high : null;
      const stroke = new Stroke(store, { z: view.z, label: erase && !eraseOnly ? null : label, erase, radius, keep });
      this.drag = { kind: "stroke", stroke };
      this.#strokeTo(at);
    } else if (tool === "polygon") {
      const first = this.polygon[0] && app.axial.viewport.toClient(this.polygon[0].x, this.polygon[0].y);
      const near = first && Math.hypot(first.x - event.clientX, first.y - event.clientY) < CLOSE_PX;
      if (near && this.polygon.length > 2) return this.closePolygon();
      this.polygon.push(app.axial.viewport.toPlane(event.clientX, event.clientY));
      app.axial.drawFront();
    } else if (tool === "fill") {
      app.assist.ask(view.z, "fill", { seed: [at.y, at.x], label: settings.label }, { now: true });
    } else if (tool === "wand") {
      app.assist.wand(view.z, at);
    } else if (tool === "scribble") {
      const side = event.shiftKey ? "outside" : settings.side;
      this.drag = { kind: "scribble", side, at };
      app.assist.scribble(view.z, at, at, side);
      app.axial.drawFront();
    } else if (tool === "box") {
      this.drag = { kind: "box", from: at, to: at };
    }
  }

  #strokeTo(at) {
    const { axial, view, redraw } = this.app;
    this.drag.stroke.to(at);
    axial.shapes.delete(view.z);
    redraw("axial");
  }

  #move(event) {
    if (this.touches.has(event.pointerId)) {
      this.touches.set(event.pointerId, { x: event.clientX, y: event.clientY });
    }
    const at = this.#pixel(event);
    const { drag, app } = this;
    this.#hoverAt(this.#inside(at) ? at : null);
    if (!drag) {
      if (event.shiftKey && this.hover && app.settings.tool !== "scribble") app.goTo(at);
      return;
    }
    const steps = event.getCoalescedEvents?.() ?? [];
    if (drag.kind === "stroke") {
      for (const step of steps.length ? steps : [event]) this.#strokeTo(this.#pixel(step));
    } else if (drag.kind === "scribble") {
      app.assist.scribble(app.view.z, drag.at, at, drag.side);
      drag.at = at;
    } else if (drag.kind === "box") {
      drag.to = at;
    } else if (drag.kind === "pinch") {
      this.#pinch();
    } else {
      const [dx, dy] = [event.clientX - drag.last.x, event.clientY - drag.last.y];
      drag.last = { x: event.clientX, y: event.clientY };
      if (drag.kind === "pan") app.axial.viewport.panBy(dx, dy);
      else app.setWindow(app.view.window.level + dy * 2, app.view.window.width + dx * 3);
      app.redraw("axial");
    }
  }

  #up(event) {
    this.touches.delete(event.pointerId);
    const { drag, app } = this;
    if (!drag) return;
    this.drag = null;
    if (drag.kind === "stroke") {
      drag.stroke.finish(app.queue);
      app.redraw("all");
    } else if (drag.kind === "scribble") {
      app.assist.askScribbles();
    } else if (drag.kind === "box") {
      const [y0, y1] = [drag.from.y, drag.to.y].map((y) => clamp(y, app.store.height)).sort((a, b) => a - b);
      const [x0, x1] = [drag.from.x, drag.to.x].map((x) => clamp(x, app.store.width)).sort((a, b) => a - b);
      if (x1 - x0 > 2 && y1 - y0 > 2) {
        app.goTo({ y: (y0 + y1) >> 1, x: (x0 + x1) >> 1 });
        app.assist.ask(app.view.z, "box", { box: [y0, x0, y1, x1] });
      }
    } else if (drag.kind === "pan" && drag.left) {
      const moved = Math.hypot(event.clientX - drag.from.x, event.clientY - drag.from.y);
      if (moved < 4 && this.#inside(drag.at)) app.goTo(drag.at);
    }
    app.axial.drawFront();
  }

  #cancelled(event) {
    this.touches.delete(event.pointerId);
    this.cancel();
  }

  /** The slice or the case changes under the pointer: a stroke counts as far as it was drawn, all else is dropped. */
  leave() {
    const stroke = this.drag?.stroke;
    if (stroke) this.drag = null;
    stroke?.finish(this.app.queue);
    this.cancel();
  }

  /** Drop what is being drawn. @returns whether there was something */
  cancel() {
    const busy = Boolean(this.drag) || this.polygon.length > 0;
    const { drag } = this;
    this.drag = null;
    drag?.stroke?.drop();
    this.polygon = [];
    if (busy) this.app.redraw("axial");
    return busy;
  }

  closePolygon() {
    const points = this.polygon;
    this.polygon = [];
    this.app.axial.drawFront();
    if (points.length < 3 || !this.app.mayPaint()) return;
    // A plane's whole numbers are corners of pixels, the server's are their centres.
    const corners = points.map(({ x, y }) => [y - 0.5, x - 0.5]);
    this.app.assist.ask(this.app.view.z, "polygon", { points: corners }, { now: true });
  }

  removeCorner() {
    this.polygon.pop();
    this.app.axial.drawFront();
  }

  #beginPinch() {
    this.cancel();
    this.drag = { kind: "pinch", ...this.#span() };
  }

  #span() {
    const [a, b] = [...this.touches.values()];
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, distance: Math.hypot(a.x - b.x, a.y - b.y) };
  }

  #pinch() {
    if (this.touches.size < 2) return;
    const { app, drag } = this;
    const now = this.#span();
    app.axial.viewport.zoomAt(now.x, now.y, now.distance / drag.distance);
    app.axial.viewport.panBy(now.x - drag.x, now.y - drag.y);
    Object.assign(drag, now);
    app.redraw("axial");
  }

  #scroll(event) {
    event.preventDefault();
    const { app } = this;
    const delta = (event.deltaY || event.deltaX) * (event.deltaMode === 1 ? 30 : 1); // lines to pixels
    if (event.ctrlKey || event.metaKey) {
      app.axial.viewport.zoomAt(event.clientX, event.clientY, Math.exp(-delta * 0.004));
      app.redraw("axial");
      return;
    }
    this.wheel += delta;
    const steps = Math.abs(delta) >= WHEEL_STEP ? Math.sign(delta) : Math.trunc(this.wheel / WHEEL_STEP);
    if (!steps) return;
    this.wheel = 0;
    if (event.altKey || event.shiftKey) app.settings.resize(-steps);
    else if (!this.drag) app.goTo({ z: app.view.z - steps });
  }

  #hoverAt(at) {
    this.hover = at;
    this.app.readouts.hover(at);
    this.app.axial.drawFront();
  }

  /** What follows the pointer; drawn by the axial view. */
  draw(ctx, matrix, unit) {
    drawPointerMarks(ctx, matrix, unit, this, this.app.settings);
  }
}

const clamp = (value, size) => Math.max(0, Math.min(size - 1, value));
