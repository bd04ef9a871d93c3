/** What follows the pointer over the axial plane: the brush's pixels, a polygon's corners, a box. */
import { outlines } from "./contour.js";
import { discMask } from "./raster.js";

const BRUSHES = ["brush", "eraser", "threshold", "scribble"];

/** A white line with a dark edge, which is seen on any ground. */
function line(ctx, path, unit, width = 1.25) {
  for (const [colour, extra] of [["rgba(0,0,0,0.7)", 1.5], ["#fff", 0]]) {
    ctx.strokeStyle = colour;
    ctx.lineWidth = (width + extra) * unit;
    ctx.stroke(path);
  }
}

/**
 * @param matrix from pixels of the slice to device pixels
 * @param pointer {polygon, drag, hover}
 */
export function drawPointerMarks(ctx, matrix, unit, { polygon, drag, hover }, settings) {
  const place = ({ x, y }) => [x * matrix.a + matrix.e, y * matrix.d + matrix.f];
  if (polygon.length) {
    const path = new Path2D();
    for (const corner of polygon) path.lineTo(...place(corner));
    if (hover) path.lineTo(...place({ x: hover.x + 0.5, y: hover.y + 0.5 }));
    for (const corner of polygon) {
      const [x, y] = place(corner);
      path.rect(x - 2.5 * unit, y - 2.5 * unit, 5 * unit, 5 * unit);
    }
    line(ctx, path, unit);
  }
  if (drag?.kind === "box") {
    const { from, to } = drag;
    const [x, y] = place({ x: Math.min(from.x, to.x), y: Math.min(from.y, to.y) });
    const path = new Path2D();
    path.rect(x, y, (Math.abs(from.x - to.x) + 1) * matrix.a, (Math.abs(from.y - to.y) + 1) * matrix.d);
    line(ctx, path, unit);
  }
  if (hover && BRUSHES.includes(settings.tool) && !["pan", "window", "pinch"].includes(drag?.kind)) {
    const radius = settings.tool === "scribble" ? 1 : settings.radius;
    const { mask, side } = discMask(radius);
    const path = new Path2D();
    const moved = matrix.translate(hover.x - radius, hover.y - radius);
    for (const outline of outlines(mask, side, side).values()) path.addPath(outline, moved);
    if (settings.tool === "eraser") ctx.setLineDash([4 * unit, 3 * unit]);
    line(ctx, path, unit, 1);
    ctx.setLineDash([]);
  }
}
