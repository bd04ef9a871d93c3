/** Intensity windows: HU to grey. */

/** Name, level and width in HU, and the key of the preset's button. */
export const PRESETS = [
  { id: "abdomen", name: "Abdomen", level: 50, width: 400 },
  { id: "chest", name: "Chest", level: 40, width: 400, title: "Mediastinum" },
  { id: "spine", name: "Spine", level: 50, width: 250 },
  { id: "lung", name: "Lung", level: -600, width: 1500 },
  { id: "bone", name: "Bone", level: 400, width: 1800 },
];

export class IntensityWindow {
  #table = new Uint32Array(65536);

  constructor(level = 50, width = 400) {
    this.set(level, width);
  }

  set(level, width) {
    this.level = Math.round(Math.max(-2000, Math.min(4000, level)));
    this.width = Math.round(Math.max(2, Math.min(6000, width)));
    const low = this.level - this.width / 2;
    const scale = 255 / this.width;
    for (let k = 0; k < 65536; k++) {
      const grey = Math.max(0, Math.min(255, Math.round((k - 32768 - low) * scale)));
      this.#table[k] = 0xff000000 | (grey * 0x010101);
    }
  }

  /** Preset that this window is, or undefined. */
  get preset() {
    return PRESETS.find((preset) => preset.level === this.level && preset.width === this.width);
  }

  /** Colours (RGBA in memory order) of a whole slice. */
  colour(hu, out) {
    const table = this.#table;
    for (let i = 0; i < out.length; i++) out[i] = table[hu[i] + 32768];
  }

  /** Colour of one voxel. */
  of(hu) {
    return this.#table[hu + 32768];
  }
}
