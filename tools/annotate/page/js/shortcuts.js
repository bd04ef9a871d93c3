/** Keys, and their list for the help. */

const TOOLS = { b: "brush", e: "eraser", p: "polygon", g: "fill", t: "threshold", w: "wand", s: "scribble", r: "box", h: "pan" };

/** Groups of [keys, what they do]. */
export const GROUPS = {
  Tools: [
    ["B", "brush"],
    ["E", "eraser"],
    ["X", "swap brush and eraser"],
    ["T", "threshold brush"],
    ["P", "polygon"],
    ["G", "fill a closed outline"],
    ["W", "wand"],
    ["S", "scribbles (Shift: outside)"],
    ["R", "box"],
    ["H", "pan, place the cursor"],
    ["[ ]", "brush size (or Alt + wheel)"],
    ["Enter", "apply preview, close polygon"],
    ["Esc", "drop preview, stop propagation"],
  ],
  "Labels and slices": [
    ["1 … 9, 0", "choose a label"],
    ["A", "label is absent here"],
    ["F2", "rename the label"],
    ["↑ ↓ → ←", "next, previous slice (or wheel)"],
    ["Shift + arrow", "ten slices"],
    ["Home, End", "first, last slice"],
  ],
  "Proposals and history": [
    ["F", "propagate"],
    ["N", "next suggested slice"],
    ["Space", "accept the slice"],
    ["Backspace", "reject its proposals"],
    ["Ctrl + Z", "undo"],
    ["Ctrl + Shift + Z, Ctrl + Y", "redo"],
  ],
  View: [
    ["M (hold)", "hide the masks"],
    ["C", "crosshair"],
    ["I", "smooth or plain pixels"],
    ["Ctrl + wheel", "zoom"],
    ["Middle drag", "move the image"],
    ["Right drag", "window: level and width"],
    ["Shift + move", "cursor follows the pointer"],
    ["0 (keypad), V", "fit the slice to the pane"],
    ["?", "this list"],
  ],
  "Work list": [
    ["L", "open it"],
    ["Shift + N", "next case that is not done"],
    ["Shift + D", "this case is done, next one"],
  ],
};

export function listen(app) {
  const { actions, settings, assist, pointer, labels, view } = app;

  const plain = {
    f: () => actions.propagate(),
    n: () => actions.next(),
    x: () => settings.swap(),
    a: () => actions.absent(),
    c: () => app.toggle("crosshair"),
    i: () => app.toggle("smooth"),
    v: () => app.fit(),
    m: () => app.showMasks(false),
    "[": () => settings.resize(-1),
    "]": () => settings.resize(1),
    "?": () => app.dialogs.help(),
    " ": () => actions.accept(),
    Home: () => app.goTo({ z: 0 }),
    End: () => app.goTo({ z: app.store.depth - 1 }),
    F2: () => labels.rename(),
    l: () => app.workList.show(),
    Backspace: () => (pointer.polygon.length ? pointer.removeCorner() : actions.reject()),
    Enter: () => (pointer.polygon.length ? pointer.closePolygon() : assist.apply()),
    Escape: () => {
      const drawing = pointer.cancel();
      if (assist.preview || assist.busy || assist.scribbles) assist.clear();
      else if (!drawing && app.store.running) actions.cancel();
    },
  };

  window.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    const { target } = event;
    if (target.matches("input:not([type=range], [type=checkbox], [type=radio]), select, textarea")) return;
    if (event.ctrlKey || event.metaKey) {
      const key = event.key.toLowerCase();
      if (event.altKey || !["z", "y"].includes(key)) return;
      event.preventDefault();
      actions.history(key === "y" || event.shiftKey ? "redo" : "undo");
      return;
    }
    if (event.altKey) return;
    const control = target.closest("button, [role=option], input:not([type=range])");
    if (control && [" ", "Enter"].includes(event.key)) return; // the focused control's own
    const arrow = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1 }[event.key];
    if (arrow && target.type === "range") return;
    if (arrow) {
      event.preventDefault();
      app.goTo({ z: view.z + arrow * (event.shiftKey ? 10 : 1) });
      return;
    }
    if (event.code === "Numpad0") return app.fit();
    if (/^[0-9]$/.test(event.key)) return labels.chooseByDigit(Number(event.key));
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (app.workList.shortcut(event)) return;
    if (TOOLS[key] && !event.shiftKey) return settings.choose(TOOLS[key]);
    if (!plain[key] || (event.repeat && !["[", "]"].includes(key))) return;
    event.preventDefault();
    plain[key]();
  });
  window.addEventListener("keyup", (event) => event.key.toLowerCase() === "m" && app.showMasks(true));

  // A control used by mouse keeps no focus: Space is to accept the slice, not to press it again.
  const toCanvas = () => app.axial.canvas.focus({ preventScroll: true });
  document.addEventListener("click", (event) => {
    const focused = document.activeElement;
    if (event.detail === 0 || event.target.closest("dialog") || !focused) return;
    const gives = "button, [role=option], input[type=range], input[type=checkbox], input[type=radio]";
    if (focused.matches(gives)) toCanvas();
    // A dialog that closes gives the focus back to the button that opened it.
    document.querySelector("dialog[open]")?.addEventListener("close", toCanvas, { once: true });
  });
}
