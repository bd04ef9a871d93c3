/** Labels in 3D: their surfaces, from a coarser copy, rendered by NiiVue. */
import { NVMesh, Niivue } from "../vendor/niivue.js";
import { shownProposal } from "./slice_edits.js";
import { surface } from "./surface.js";

const LONGEST = 176; // voxels along an axis of the copy at the most

export class Scene {
  static async on(canvas) {
    const scene = new Scene();
    scene.viewer = new Niivue({
      backColor: [0, 0, 0, 1],
      show3Dcrosshair: false,
      isOrientCube: true,
      loadingText: "",
      logLevel: "error",
      dragAndDropEnabled: false,
    });
    await scene.viewer.attachToCanvas(canvas);
    scene.viewer.setSliceType(scene.viewer.sliceTypeRender);
    scene.viewer.setRenderAzimuthElevation(165, 12); // from the front, a little to the side
    scene.viewer.setScale(1.3);
    return scene;
  }

  /** Show the visible labels as they are now; a later call ends one that is under way. */
  async show(store) {
    const mine = (this.drawing = Symbol("drawing"));
    const { viewer } = this;
    const { voxels, shape, steps, boxes } = coarse(store);
    const place = placing(store, shape, steps);
    const meshes = [];
    for (const [value, box] of boxes) {
      const label = store.labels.get(value);
      if (!label?.visible) continue;
      const { corners, triangles } = surface(voxels, shape, value, box);
      if (place(corners)) flip(triangles);
      meshes.push(new NVMesh(corners, triangles, label.name, new Uint8Array([...label.color, 255]), 1, true, viewer.gl));
      await new Promise((resolve) => setTimeout(resolve)); // strokes come first
      if (mine !== this.drawing) return;
    }
    for (const mesh of [...viewer.meshes]) viewer.removeMesh(mesh);
    for (const mesh of meshes) viewer.addMesh(mesh);
    viewer.drawScene();
  }
}

/** Shown labels of every n-th voxel along each axis, and the bounds of each label. */
function coarse(store) {
  const { depth, height, width } = store;
  const steps = [width, height, depth].map((size) => Math.ceil(size / LONGEST));
  const shape = [width, height, depth].map((size, axis) => Math.ceil(size / steps[axis]));
  const voxels = new Uint8Array(shape[0] * shape[1] * shape[2]);
  const boxes = new Map();
  let at = 0;
  for (let z = 0; z < shape[2]; z++) {
    const [slice, proposal] = [store.slice(z * steps[2]), store.proposal(z * steps[2])];
    for (let y = 0; y < shape[1]; y++) {
      for (let x = 0; x < shape[0]; x++, at++) {
        const i = y * steps[1] * width + x * steps[0];
        const value = slice ? slice.given[i] || shownProposal(slice, proposal, i) : (proposal?.[i] ?? 0);
        if (!value) continue;
        voxels[at] = value;
        if (!boxes.has(value)) boxes.set(value, [x, x, y, y, z, z]);
        const box = boxes.get(value);
        [x, y, z].forEach((place, axis) => {
          box[2 * axis] = Math.min(box[2 * axis], place);
          box[2 * axis + 1] = Math.max(box[2 * axis + 1], place);
        });
      }
    }
  }
  return { voxels, shape, steps, boxes };
}

/**
 * A function that moves corners from voxels to mm (right, anterior, superior; the middle of the volume at 0) in place,
 * and tells whether that mirrors them.
 */
function placing(store, shape, steps) {
  const { letters, spacing } = store;
  const towards = (ends, letter) => (ends[1] === letter ? 1 : -1);
  const signs = [towards(letters.x, "R"), towards(letters.y, "A"), towards(letters.z, "S")];
  const scales = signs.map((sign, axis) => sign * spacing[2 - axis] * steps[axis]);
  return (corners) => {
    for (let i = 0; i < corners.length; i++) corners[i] = (corners[i] - shape[i % 3] / 2) * scales[i % 3];
    return signs[0] * signs[1] * signs[2] < 0;
  };
}

/** Turn the triangles over, so that a mirrored surface still faces outward. */
function flip(triangles) {
  for (let t = 0; t < triangles.length; t += 3) [triangles[t], triangles[t + 1]] = [triangles[t + 1], triangles[t]];
}
