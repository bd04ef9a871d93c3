/** Device pixels to a CSS pixel of an ordinary screen: lines grow with the text on large ones. */
export function unit() {
  return ((window.devicePixelRatio || 1) * parseFloat(getComputedStyle(document.documentElement).fontSize)) / 14;
}

/** Where a plane lies in its canvas: fitted at first, then zoomed and moved. */
export class Viewport {
  /** @param canvas the drawing surface; it follows its size in CSS pixels at the screen's resolution */
  constructor(canvas, onResize) {
    this.canvas = canvas;
    this.zoom = 1;
    this.centre = null; // in pixels of the plane; null: its middle
    this.plane = { width: 1, height: 1, stepX: 1, stepY: 1 };
    this.dpr = 1;
    const fit = () => {
      this.#resize();
      onResize();
    };
    new ResizeObserver(fit).observe(canvas);
    window.addEventListener("resize", fit); // another screen may have another resolution
    this.#resize();
  }

  #resize() {
    this.dpr = window.devicePixelRatio || 1;
    this.unit = unit();
    const { width, height } = this.canvas.getBoundingClientRect();
    this.canvas.width = Math.max(1, Math.round(width * this.dpr));
    this.canvas.height = Math.max(1, Math.round(height * this.dpr));
  }

  /** @param plane {width, height} in pixels, {stepX, stepY} in mm a pixel */
  setPlane(plane) {
    this.plane = plane;
    this.reset();
  }

  reset() {
    this.zoom = 1;
    this.centre = null;
  }

  /** From pixels of the plane (corner of the first at 0, 0) to device pixels. */
  matrix() {
    const { width, height, stepX, stepY } = this.plane;
    const fit = Math.min(this.canvas.width / (width * stepX), this.canvas.height / (height * stepY));
    const [sx, sy] = [fit * this.zoom * stepX, fit * this.zoom * stepY];
    const centre = this.centre ?? { x: width / 2, y: height / 2 };
    return new DOMMatrix([
      sx, 0, 0, sy,
      Math.round(this.canvas.width / 2 - centre.x * sx), Math.round(this.canvas.height / 2 - centre.y * sy),
    ]);
  }

  /** Client coordinates to pixels of the plane; whole numbers are corners. */
  toPlane(clientX, clientY) {
    const box = this.canvas.getBoundingClientRect();
    const m = this.matrix();
    return { x: ((clientX - box.left) * this.dpr - m.e) / m.a, y: ((clientY - box.top) * this.dpr - m.f) / m.d };
  }

  toClient(x, y) {
    const box = this.canvas.getBoundingClientRect();
    const m = this.matrix();
    return { x: box.left + (x * m.a + m.e) / this.dpr, y: box.top + (y * m.d + m.f) / this.dpr };
  }

  /** Zoom by `factor`, the point under the client coordinates stays where it is. */
  zoomAt(clientX, clientY, factor) {
    const before = this.toPlane(clientX, clientY);
    this.zoom = Math.max(0.5, Math.min(40, this.zoom * factor));
    this.centre ??= { x: this.plane.width / 2, y: this.plane.height / 2 };
    const after = this.toPlane(clientX, clientY);
    this.#moveCentre(before.x - after.x, before.y - after.y);
  }

  panBy(clientDx, clientDy) {
    const m = this.matrix();
    this.centre ??= { x: this.plane.width / 2, y: this.plane.height / 2 };
    this.#moveCentre((-clientDx * this.dpr) / m.a, (-clientDy * this.dpr) / m.d);
  }

  #moveCentre(dx, dy) {
    const { width, height } = this.plane;
    this.centre = {
      x: Math.max(0, Math.min(width, this.centre.x + dx)),
      y: Math.max(0, Math.min(height, this.centre.y + dy)),
    };
  }
}
