/** A sagittal or coronal plane through the cursor, superior up; dragging in it moves the cursor. */
import { drawCrosshair } from "./axial_view.js";
import { outlines } from "./contour.js";
import { paintMasks } from "./mask_painter.js";
import { shownProposal } from "./slice_edits.js";
import { Viewport } from "./viewport.js";

export class SideView {
  /**
   * @param kind "sagittal" (across: y) or "coronal" (across: x)
   * @param goTo called with {z, y, x}, any of them left out
   */
  constructor(canvas, kind, { store, image, view, goTo }) {
    Object.assign(this, { canvas, kind, store, image, view });
    this.ctx = canvas.getContext("2d", { alpha: false });
    this.viewport = new Viewport(canvas, () => this.draw());
    const across = kind === "sagittal" ? "y" : "x";
    const move = (event) => {
      const at = this.viewport.toPlane(event.clientX, event.clientY);
      goTo({ [across]: Math.floor(at.x), z: this.store.depth - 1 - Math.floor(at.y) });
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      move(event);
    });
    canvas.addEventListener("pointermove", (event) => event.buttons & 1 && move(event));
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        const through = kind === "sagittal" ? "x" : "y";
        goTo({ [through]: this.view.cursor[through] + Math.sign(event.deltaY) });
      },
      { passive: false },
    );
  }

  reset() {
    const { store } = this;
    this.across = this.kind === "sagittal" ? store.height : store.width;
    const step = this.kind === "sagittal" ? store.spacing[1] : store.spacing[2];
    this.viewport.setPlane({ width: this.across, height: store.depth, stepX: step, stepY: store.spacing[0] });
    this.buffer = new OffscreenCanvas(this.across, store.depth);
    this.bufferCtx = this.buffer.getContext("2d");
    this.pixels = this.bufferCtx.createImageData(this.across, store.depth);
    this.colours = new Uint32Array(this.pixels.data.buffer);
    this.given = new Uint8Array(this.across * store.depth);
    this.proposed = new Uint8Array(this.across * store.depth);
  }

  /** Fill image and masks of the plane, row 0 the most superior slice. */
  #cut() {
    const { store, image, view, across } = this;
    const sagittal = this.kind === "sagittal";
    const start = sagittal ? view.cursor.x : view.cursor.y * store.width;
    const step = sagittal ? store.width : 1;
    for (let z = 0; z < store.depth; z++) {
      const row = (store.depth - 1 - z) * across;
      const hu = image.slice(z);
      const slice = store.slice(z);
      const proposal = store.proposal(z);
      for (let k = 0, i = start; k < across; k++, i += step) {
        this.colours[row + k] = hu ? view.window.of(hu[i]) : 0xff000000;
        this.given[row + k] = slice ? slice.given[i] : 0;
        this.proposed[row + k] = !proposal ? 0 : slice ? shownProposal(slice, proposal, i) : proposal[i];
      }
    }
  }

  draw() {
    if (!this.buffer) return;
    const { ctx, canvas, view, store, across } = this;
    const matrix = this.viewport.matrix();
    const { unit } = this.viewport;
    this.#cut();
    this.bufferCtx.putImageData(this.pixels, 0, 0);
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.fillStyle = "#000";
    ctx.fillRect(0, 0, canvas.width, canvas.height);
    ctx.setTransform(matrix);
    ctx.imageSmoothingEnabled = view.smooth;
    ctx.drawImage(this.buffer, 0, 0);
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    if (view.showMasks) {
      for (const [mask, style] of [[this.proposed, "proposal"], [this.given, "given"]]) {
        paintMasks(ctx, outlines(mask, across, store.depth), matrix, style, store.labels, unit, view.opacity);
      }
    }
    const x = ((this.kind === "sagittal" ? view.cursor.y : view.cursor.x) + 0.5) * matrix.a + matrix.e;
    const y = (store.depth - 1 - view.z + 0.5) * matrix.d + matrix.f;
    drawCrosshair(ctx, x, y, canvas.width, canvas.height, unit);
  }
}
