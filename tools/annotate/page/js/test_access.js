/** `window.keyslice`: what tests in a browser look at. */

export function exposeForTests(app) {
  const { store, view, axial } = app;
  window.keyslice = {
    ready: app.ready,
    goTo: (z) => app.goTo({ z }),
    /** Client coordinates of the middle of a pixel of the current slice, or of slice z if three numbers come. */
    sliceToScreen: (...place) => {
      const [y, x] = place.slice(-2);
      if (place.length === 3) app.goTo({ z: place[0] });
      return axial.viewport.toClient(x + 0.5, y + 0.5);
    },
    /** Labels as they are seen on a slice, row by row. */
    shown: (z) => Array.from({ length: store.size }, (_, i) => store.shown(z, i)),
    /** Draw the current slice anew, window and outlines included, as after a stroke. @returns milliseconds */
    timeDraw: () => {
      axial.shapes.delete(view.z);
      axial.shown = null;
      axial.draw();
      return axial.times.at(-1);
    },
    get state() {
      return {
        case: store.case,
        shape: [store.depth, store.height, store.width],
        revision: store.revision,
        z: view.z,
        cursor: { ...view.cursor },
        tool: app.settings.tool,
        label: app.settings.label,
        labels: [...store.labels.values()],
        slices: store.case ? Array.from({ length: store.depth }, (_, z) => app.ribbon.describe(z)) : [],
        extents: Object.fromEntries(store.extents ?? []),
        rejected: [...(store.rejected ?? [])],
        suggestion: store.suggestion,
        running: store.running,
        undo: store.undo,
        redo: store.redo,
        youEdit: store.youEdit,
        pending: app.queue.length,
        offline: app.queue.offline || !app.status.connected,
        preview: app.assist.preview && { z: app.assist.preview.z, pixels: app.assist.preview.pixels },
        loaded: app.image.loaded ? app.image.loaded.reduce((sum, there) => sum + there, 0) : 0,
        drawMs: [...axial.times],
      };
    },
  };
}
