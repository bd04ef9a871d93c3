/** What the page tells the person: status, notices, connection, progress, who edits. */
import { $, count } from "./dom.js";

const percent = ({ done, total }) => `${Math.floor((100 * done) / total)} %`;

export class StatusLine {
  constructor(app) {
    this.app = app;
    this.connected = true;
    this.ended = false;
    app.queue.on("change", () => this.showConnection());
    app.store.on("running", () => this.#progress());
    app.store.on("ended", ({ was, ended }) => this.#ended(was, ended));
    app.store.on("editor reset", () => this.showConnection());
    app.store.on("reset", () => this.#progress());
  }

  say(text) {
    $("#status").textContent = text;
  }

  /** Something that went wrong or that one should know; it stays for a while. */
  tell(text, level = "info") {
    const notice = $("#notice");
    notice.textContent = (level === "error" ? "⚠ " : "") + text;
    notice.title = text;
    notice.className = level;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => (notice.textContent = ""), level === "error" ? 15_000 : 8_000);
  }

  setConnected(connected) {
    this.connected = connected;
    clearTimeout(this.grace);
    // A reload of the server's side of the stream is no loss yet.
    this.grace = setTimeout(() => this.showConnection(), connected ? 0 : 800);
  }

  /** The token is no longer good, as after a restart of the server; what waits is kept until there is a new one. */
  end() {
    this.ended = true;
    this.showConnection();
  }

  renew() {
    this.ended = false;
    this.showConnection();
  }

  showConnection() {
    const { queue, store } = this.app;
    const waiting = queue.length;
    const lost = !this.connected || queue.offline;
    const banner = (text, bad) => {
      $("#banner").hidden = !text;
      $("#banner").classList.toggle("bad", Boolean(bad));
      if ($("#banner-text").textContent !== text) $("#banner-text").textContent = text;
    };
    const watching = !lost && store.case && !store.youEdit;
    $("#take-over").hidden = !watching;
    $("#axial-pane").classList.toggle("watching", Boolean(store.case) && !store.youEdit);
    $("#sending").textContent = waiting ? `${count(waiting, "change")} on the way` : store.case ? "All saved" : "";
    const kept = `${count(waiting, "change")} kept here`;
    if (this.ended && waiting) banner(`The server wants a new token: open its new address in another tab. ${kept}; leave this page open.`, true);
    else if (this.ended) banner("The server wants a new token: open the address that it prints.", true);
    else if (lost && waiting) banner(`Connection lost. ${kept} and sent again when the server answers; leave this page open.`, true);
    else if (lost) banner("Connection lost. Trying again …", true);
    else if (watching && waiting) banner(`Another page edits this case. ${kept}: take over to send them; leave this page open.`, true);
    else if (watching) banner("Another page edits this case; you are watching.");
    else banner("");
  }

  #progress() {
    const { running, progress } = this.app.store;
    $("#progress").hidden = !running;
    const what = { propagation: "Propagating", automatic: "Looking for key slices" }[running];
    $("#progress-text").textContent = !running ? "" : progress?.total ? `${what}: ${percent(progress)}` : `${what} …`;
    if (running && progress?.total) {
      $("#progress").max = progress.total;
      $("#progress").value = progress.done;
    } else if (running) $("#progress").removeAttribute("value");
  }

  #ended(was, how) {
    const { progress, proposals } = this.app.store;
    const [what, again] = was === "automatic" ? ["Automatic start", "Nothing was changed."] : ["Propagation", "F goes on."];
    const some = was === "propagation" && proposals.size;
    const proposed = some ? ` ${count(some, "slice")} ${some === 1 ? "has" : "have"} proposals.` : "";
    const far = progress.total ? `at ${percent(progress)}` : "before the first slice";
    if (how === "stopped") this.say(`${what} was stopped ${far}.${proposed} ${again}`);
    else if (how === "failed") this.say(`${what} has failed ${far}.`);
    else this.say(`${what} ${how === "done" ? "is done" : "has ended"}.${proposed}`);
  }
}
