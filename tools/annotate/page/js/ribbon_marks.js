/** Kinds of slices on the ribbon: each has a shape of its own besides its colour. */
import { make } from "./dom.js";

export const KINDS = {
  none: { text: "nothing yet" },
  key: { text: "key slice", mark: "diamond", colour: "#eef1f4" },
  accepted: { text: "accepted", mark: "check", colour: "#58b98a" },
  automatic: { text: "automatic key slice", mark: "hollow", colour: "#b79cf0" },
  imported: { text: "imported", mark: "square", colour: "#6fb7c9" },
  proposed: { text: "proposed", colour: "#5b93c7", byConfidence: true },
  rejected: { text: "proposal rejected", mark: "cross", colour: "#8c4a45" },
};

/** Draw a kind's mark round (x, y). */
export function drawMark(ctx, { mark, colour }, x, y, r, unit) {
  ctx.fillStyle = colour;
  ctx.strokeStyle = colour;
  ctx.lineWidth = 1.6 * unit;
  ctx.beginPath();
  if (mark === "diamond" || mark === "hollow") {
    for (const [dx, dy] of [[0, -r], [r, 0], [0, r], [-r, 0]]) ctx.lineTo(x + dx, y + dy);
    ctx.closePath();
  } else if (mark === "check") {
    for (const [dx, dy] of [[-r, 0], [-r * 0.3, r * 0.7], [r, -r * 0.8]]) ctx.lineTo(x + dx, y + dy);
  } else if (mark === "cross") {
    for (const [dx, dy] of [[-r, -r], [r, r], [r, -r], [-r, r]]) {
      if (dy === -r) ctx.moveTo(x + dx * 0.8, y + dy * 0.8);
      else ctx.lineTo(x + dx * 0.8, y + dy * 0.8);
    }
  } else if (mark === "square") {
    ctx.rect(x - r * 0.8, y - r * 0.8, r * 1.6, r * 1.6);
  } else if (mark === "down") {
    for (const [dx, dy] of [[-r, -r], [r, -r], [0, r]]) ctx.lineTo(x + dx, y + dy);
    ctx.closePath();
  }
  if (mark === "check" || mark === "cross" || mark === "hollow") ctx.stroke();
  else ctx.fill();
}

/** The kinds with their marks and names, as elements. */
export function legend() {
  const items = Object.entries(KINDS).filter(([name]) => name !== "none");
  items.push(["suggested", { text: "suggested", mark: "down", colour: "#f2c14e" }]);
  return items.map(([, kind]) => {
    const canvas = make("canvas", { width: 28, height: 28, class: "mark" });
    const ctx = canvas.getContext("2d");
    if (kind.mark) drawMark(ctx, kind, 14, 14, 9, 2);
    else {
      ctx.fillStyle = kind.colour;
      for (const [x, h] of [[2, 10], [11, 17], [20, 24]]) ctx.fillRect(x, 26 - h, 7, h);
    }
    return make("span", {}, canvas, kind.byConfidence ? "proposed (height: confidence)" : kind.text);
  });
}
