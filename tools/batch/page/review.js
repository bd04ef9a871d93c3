"use strict";
const rows = [...document.querySelectorAll("#results tbody tr")];
const run = document.documentElement.dataset.run;
const key = (name) => `keyslice.review.${run}.${name}`;

/** What a browser keeps; one that keeps nothing for a page from the disk still shows it. */
const kept = {
  get: (name) => { try { return localStorage.getItem(key(name)) ?? ""; } catch { return ""; } },
  set: (name, value) => { try { localStorage.setItem(key(name), value); } catch { /* until the page is closed */ } },
};

const filter = document.querySelector("#filter");
const state = document.querySelector("#state");
const server = document.querySelector("#server");

function show() {
  const wanted = filter.value.trim().toLowerCase();
  let looked = 0;
  for (const row of rows) {
    const review = row.querySelector("select").value;
    looked += review !== "";
    const fits = state.value === "all" || state.value === review;
    const text = [...row.cells].slice(1, 4).map((cell) => cell.textContent).join(" ").toLowerCase();
    row.classList.toggle("out", !fits || !text.includes(wanted));
  }
  document.querySelector("#looked").textContent = `${looked} of ${rows.length} looked at`;
}

function link() {
  let address = null;
  try {
    address = new URL(server.value);
  } catch { /* not typed to its end */ }
  const works = address !== null && ["http:", "https:"].includes(address.protocol);
  for (const anchor of document.querySelectorAll("a[data-case]")) {
    anchor.hidden = !works;
    if (works) {
      address.hash = `case=${encodeURIComponent(anchor.dataset.case)}`;
      anchor.href = address.href;
    }
  }
}

async function copy(button) {
  const text = button.dataset.copy;
  try {
    await navigator.clipboard.writeText(text);
  } catch { // pages from the disk may not use it everywhere
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy command"; }, 1500);
}

function save() {
  const cell = (text) => `"${text.replaceAll('"', '""')}"`;
  const lines = rows.map((row) => [cell(row.dataset.case), cell(row.querySelector("select").value)].join(","));
  const anchor = document.createElement("a");
  anchor.href = URL.createObjectURL(new Blob([["case,review", ...lines, ""].join("\r\n")], { type: "text/csv" }));
  anchor.download = "review.csv";
  anchor.click();
  URL.revokeObjectURL(anchor.href);
}

for (const row of rows) {
  const select = row.querySelector("select");
  select.value = kept.get(row.dataset.case);
  select.addEventListener("change", () => { kept.set(row.dataset.case, select.value); show(); });
}
for (const button of document.querySelectorAll("button[data-copy]")) button.addEventListener("click", () => copy(button));
filter.addEventListener("input", show);
state.addEventListener("change", show);
server.addEventListener("input", link);
document.querySelector("#save").addEventListener("click", save);
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
show();
