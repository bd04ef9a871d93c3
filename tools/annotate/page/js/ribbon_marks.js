/** Signs of the ribbon: each has a shape of its own besides its colour. The legend draws them as the ribbon does. */
import { make } from "./dom.js";
import { unit as screenUnit } from "./viewport.js";

export const KINDS = {
  none: { text: "nothing yet" },
  key: { text: "key slice", mark: "diamond", colour: "#eef1f4" },
  accepted: { text: "accepted", mark: "check", colour: "#58b98a" },
  automatic: { text: "automatic key slice", mark: "hollow", colour: "#b79cf0" },
  imported: { text: "imported", mark: "square", colour: "#6fb7c9" },
  proposed: { text: "proposed", colour: "#5b93c7", byConfidence: true },
  rejected: { text: "proposal rejected", mark: "cross", colour: "#c9645b" },
};

export const SUGGESTED = { text: "suggested", mark: "down", colour: "#f2c14e" };

/** What the lane of the chosen label says of a slice. */
export const LANE_SIGNS = {
  given: "given",
  proposed: "proposed",
  absent: "absent, as you said",
  unmentioned: "absent, as the slice was accepted without it",
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

/** Draw what the lane says in the column at (x, y) of size w by h; `sure` is a proposal's confidence. */
export function drawLane(ctx, what, colour, [x, y, w, h], unit, sure = 1) {
  ctx.fillStyle = colour;
  if (what === "given") ctx.fillRect(x, y, w, h);
  else if (what === "proposed") {
    ctx.globalAlpha = 0.25 + 0.65 * sure;
    ctx.fillRect(x, Math.round(y + h * 0.3), w, Math.round(h * 0.4));
    ctx.globalAlpha = 1;
  } else if (what === "unmentioned") {
    ctx.fillStyle = "#8b929c"; // not said by itself: a quiet dot
    ctx.fillRect(x + w / 2 - unit, y + h / 2 - unit, 2 * unit, 2 * unit);
  } else if (what === "absent") {
    const r = Math.min(h * 0.38, 4 * unit);
    drawMark(ctx, { mark: "cross", colour: "#e6e9ed" }, x + w / 2, y + h / 2, r, 0.8 * unit);
  }
}

/** Draw the marks of a label's first and last slice: brackets that open towards each other. */
export function drawExtent(ctx, left, right, y, h, unit) {
  ctx.strokeStyle = "#fff";
  ctx.lineWidth = 2 * unit;
  ctx.beginPath();
  for (const [x, foot] of [[left, 5 * unit], [right, -5 * unit]]) {
    ctx.moveTo(x + foot, y);
    ctx.lineTo(x, y);
    ctx.lineTo(x, y + h);
    ctx.lineTo(x + foot, y + h);
  }
  ctx.stroke();
}

/** Draw the frame of the slice that is looked at. */
export function drawFrame(ctx, x, y, w, h, unit) {
  for (const [colour, width] of [["#000", 4], ["#fff", 1.75]]) {
    ctx.strokeStyle = colour;
    ctx.lineWidth = width * unit;
    ctx.strokeRect(x, y, w, h);
  }
}

/** Sign and meaning of everything on the ribbon, as elements: of slices, and of the chosen label's lane. */
export function legend(colour) {
  const bars = (ctx) => {
    ctx.fillStyle = KINDS.proposed.colour;
    for (const [x, h] of [[2, 10], [11, 17], [20, 24]]) ctx.fillRect(x, 26 - h, 7, h);
  };
  const kinds = Object.values(KINDS).filter((kind) => kind !== KINDS.none);
  const slices = [...kinds, SUGGESTED].map((kind) => {
    if (kind.byConfidence) return [`${kind.text}; as high as its lowest confidence`, bars];
    return [kind.text, (ctx) => drawMark(ctx, kind, 14, 14, 9, 2)];
  });
  slices.push(["the slice that you see", (ctx) => drawFrame(ctx, 9, 3, 10, 22, 2)]);
  const lane = Object.entries(LANE_SIGNS).map(([what, text]) => [
    text,
    (ctx) => drawLane(ctx, what, colour, what === "given" || what === "proposed" ? [2, 7, 24, 14] : [7, 4, 14, 20], 2),
  ]);
  lane.push(["first and last slice, as you said", (ctx) => drawExtent(ctx, 4, 24, 6, 16, 1.6)]);
  return [slices, lane].map((signs) =>
    signs.map(([text, draw]) => {
      const scale = screenUnit();
      const canvas = make("canvas", { width: 28 * scale, height: 28 * scale, class: "mark" });
      const ctx = canvas.getContext("2d");
      ctx.scale(scale, scale);
      draw(ctx);
      return make("span", {}, canvas, text);
    }),
  );
}
