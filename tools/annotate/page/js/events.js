/** The server's events. */
import { Refused } from "./api.js";

const RECONNECT_MS = 1500;

export class Events {
  /**
   * @param listeners for each event's name a function of its data
   * @param connection told true when events come, false when they no longer do
   * @param refused told the error when the server does not want this page any more
   */
  constructor(api, listeners, { connection, refused }) {
    Object.assign(this, { api, listeners, connection, refused });
  }

  open() {
    this.close();
    this.closed = false;
    const source = new EventSource(this.api.url(`events?client=${encodeURIComponent(this.api.client)}`));
    this.source = source;
    for (const [name, listener] of Object.entries(this.listeners)) {
      source.addEventListener(name, (event) => listener(JSON.parse(event.data)));
    }
    source.onopen = () => this.connection(true);
    source.onerror = () => {
      this.connection(false);
      // The browser tries again by itself after a broken connection, but not after a refusal.
      if (source.readyState === EventSource.CLOSED) this.timer = setTimeout(() => this.#again(), RECONNECT_MS);
    };
  }

  async #again() {
    try {
      await this.api.state(); // an event source does not tell why it was refused
    } catch (error) {
      if (this.closed) return;
      if (error instanceof Refused) this.refused(error);
    }
    if (!this.closed) this.open();
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.source?.close();
  }
}
