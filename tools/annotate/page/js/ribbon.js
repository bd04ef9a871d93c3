/**
 * The ribbon: a column for every slice, inferior on the left. Bars tell the state and how sure the proposals are,
 * marks above them the kind of slice, the lane below where the chosen label is.
 */
import { $, onDark } from "./dom.js";
import { KINDS, SUGGESTED, drawExtent, drawFrame, drawLane, drawMark } from "./ribbon_marks.js";
import { unit as screenUnit } from "./viewport.js";

const TOP = 0.26; // share of the height for marks, then bars, then the lane of the chosen label
const LANE = 0.76;

export class Ribbon {
  constructor(canvas, { store, view, settings, goTo }) {
    Object.assign(this, { canvas, store, view, settings });
    this.ctx = canvas.getContext("2d", { alpha: false });
    new ResizeObserver(() => this.draw()).observe(canvas);
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      const z = Math.floor(((event.clientX - box.left) / box.width) * store.depth);
      return Math.max(0, Math.min(store.depth - 1, z));
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !store.case) return;
      canvas.setPointerCapture(event.pointerId);
      goTo({ z: at(event) });
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!store.case) return;
      if (event.buttons & 1) goTo({ z: at(event) });
      this.#tip(event, at(event));
    });
    canvas.addEventListener("pointerleave", () => ($("#tip").hidden = true));
    canvas.addEventListener("wheel", (event) => goTo({ z: view.z + Math.sign(event.deltaY) }), { passive: true });
  }

  /** What a slice's column says, for the tooltip, the screen reader and tests. */
  describe(z) {
    const { store } = this;
    const slice = store.slices.get(z);
    const extents = [...(store.extents ?? [])].filter(([, [first, last]]) => first === z || last === z);
    const labels = slice ? [...slice.speaks].filter((value) => !slice.absent.has(value)) : [];
    return {
      z,
      state: store.sliceState(z),
      complete: Boolean(slice?.complete),
      labels,
      absent: slice ? [...slice.absent] : [],
      confidence: store.confidence(z),
      extents: extents.map(([label]) => label),
      suggested: store.suggestion?.z === z,
    };
  }

  text(z) {
    const { store } = this;
    const told = this.describe(z);
    const name = (value) => store.labels.get(value)?.name ?? `label ${value}`;
    const lines = [`Slice ${z}: ${KINDS[told.state].text}${told.complete && told.state !== "accepted" ? ", accepted" : ""}`];
    if (told.labels.length) lines.push(`Given: ${told.labels.map(name).join(", ")}`);
    if (told.absent.length) lines.push(`Absent: ${told.absent.map(name).join(", ")}`);
    const sure = [...(store.proposals.get(z)?.confidence ?? [])].filter(([value]) => !store.slices.get(z)?.speaks.has(value));
    if (sure.length && !told.complete && told.state !== "rejected") {
      lines.push(`Proposed: ${sure.map(([value, c]) => `${name(value)} ${c.toFixed(2)}`).join(", ")}`);
    }
    for (const [label, [first, last]] of store.extents ?? []) {
      if (first === z) lines.push(`First slice of ${name(label)}`);
      if (last === z) lines.push(`Last slice of ${name(label)}`);
    }
    if (told.suggested) lines.push(`Suggested: ${store.suggestion.reason}`);
    return lines.join("\n");
  }

  #tip(event, z) {
    const tip = $("#tip");
    tip.textContent = this.text(z);
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(window.innerWidth - box.width - 4, event.clientX - box.width / 2))}px`;
    tip.style.top = `${this.canvas.getBoundingClientRect().top - box.height - 6}px`;
  }

  draw() {
    const { canvas, ctx, store, view } = this;
    if (!store.case) return;
    const unit = screenUnit();
    const dpr = window.devicePixelRatio || 1;
    const box = canvas.getBoundingClientRect();
    const [width, height] = [Math.round(box.width * dpr), Math.round(box.height * dpr)];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    ctx.fillStyle = "#101214";
    ctx.fillRect(0, 0, width, height);
    const column = width / store.depth;
    const [top, lane] = [Math.round(height * TOP), Math.round(height * LANE)];
    const edge = (z) => Math.round(z * column);
    const gap = column >= 3 * unit ? Math.round(unit) : 0;
    ctx.fillStyle = "#1a1d21";
    ctx.fillRect(0, top, width, lane - top);
    for (let z = 0; z < store.depth; z++) {
      this.#bar(z, edge(z), Math.max(1, edge(z + 1) - edge(z) - gap), top, lane - 2 * unit, unit);
    }
    this.#lane(edge, gap, lane, height, unit);
    for (let z = 0; z < store.depth; z++) {
      const kind = store.sliceState(z);
      if (KINDS[kind].mark) drawMark(ctx, KINDS[kind], (z + 0.5) * column, top / 2, Math.min(top * 0.34, 5 * unit), unit);
    }
    ctx.fillStyle = "#9aa1ab";
    ctx.font = `${10 * unit}px system-ui, sans-serif`;
    ctx.textBaseline = "middle";
    for (const [end, x] of [[0, 3 * unit], [1, width - 10 * unit]]) ctx.fillText(store.letters.z[end], x, top / 2);
    // A slice that was accepted meanwhile is no longer worth a look.
    if (store.suggestion && store.sliceState(store.suggestion.z) !== "accepted") this.#suggestion((store.suggestion.z + 0.5) * column, top, lane, unit);
    const x = edge(view.z);
    const w = Math.max(3 * unit, edge(view.z + 1) - x);
    drawFrame(ctx, x - unit, unit, w + 2 * unit - gap, height - 2 * unit, unit);
    canvas.setAttribute("aria-valuemax", store.depth - 1);
    canvas.setAttribute("aria-valuenow", view.z);
    canvas.setAttribute("aria-valuetext", this.text(view.z).replaceAll("\n", ". "));
  }

  #bar(z, x, w, top, bottom, unit) {
    const { ctx, store } = this;
    const kind = KINDS[store.sliceState(z)];
    if (!kind.colour) return;
    const sure = store.confidence(z);
    const share = kind.byConfidence ? Math.max(0.06, sure ?? 0.5) : 1;
    const y = Math.round(bottom - (bottom - top) * share);
    ctx.fillStyle = kind.colour;
    ctx.globalAlpha = kind.byConfidence ? 0.3 + 0.6 * (sure ?? 0.5) : 1;
    ctx.fillRect(x, y, w, bottom - y);
    ctx.globalAlpha = 1;
    if (kind.byConfidence) ctx.fillRect(x, y, w, Math.max(1, Math.round(1.5 * unit)));
  }

  /** Where the chosen label is: given, proposed, absent, its first and last slice. */
  #lane(edge, gap, lane, height, unit) {
    const { ctx, store } = this;
    const label = store.labels.get(this.settings.label);
    if (!label) return;
    const [y, h] = [lane + 2 * unit, height - lane - 3 * unit];
    for (let z = 0; z < store.depth; z++) {
      const column = [edge(z), y, Math.max(1, edge(z + 1) - edge(z) - gap), h];
      drawLane(ctx, this.#said(z, label.value), onDark(label.color), column, unit, store.confidence(z, label.value));
    }
    const extent = store.extents?.get(label.value);
    if (extent) drawExtent(ctx, edge(extent[0]), edge(extent[1] + 1) - gap, y, h, unit);
  }

  /** What slice `z` says of a label, as `LANE_SIGNS` names it; undefined: nothing. */
  #said(z, label) {
    const { store } = this;
    const slice = store.slices.get(z);
    if (slice?.absent.has(label)) return slice.kind === "accepted" ? "unmentioned" : "absent";
    if (slice?.speaks.has(label)) return "given";
    return store.confidence(z, label) !== null && !slice?.complete ? "proposed" : undefined;
  }

  #suggestion(x, top, lane, unit) {
    const { ctx } = this;
    ctx.strokeStyle = SUGGESTED.colour;
    ctx.lineWidth = 1.5 * unit;
    ctx.setLineDash([3 * unit, 2 * unit]);
    ctx.beginPath();
    ctx.moveTo(x, top);
    ctx.lineTo(x, lane);
    ctx.stroke();
    ctx.setLineDash([]);
    drawMark(ctx, SUGGESTED, x, top / 2, top * 0.45, unit);
  }
}
