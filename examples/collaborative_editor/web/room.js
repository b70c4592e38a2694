// A document's WebSocket: keeps a Yjs document and the actor's the same, for as long as the
// page is open, whatever happens to the network. What goes over it is told in ../app.py.
import * as Y from "yjs";

const HAVE = 0;
const UPDATE = 1;
const RETRY_MS = 250;
const RETRY_MS_MAX = 4000;
const SILENCE_MS = 10000;

export class Room {
  /** @param onStatus is called with nothing whenever `state`, `unsaved` or `reason` has changed. */
  constructor(url, doc, presence, onStatus) {
    this.url = url;
    this.doc = doc;
    this.presence = presence;
    this.onStatus = onStatus;
    // connecting; online; offline, which is tried again; refused, which is not.
    this.state = "connecting";
    this.reason = "";
    // Whether there is an edit of this page that the actor has not called saved.
    this.unsaved = false;
    this.wanted = true;
    this.socket = null;
    // Whether the actor has what this page had when it connected, or it is on its way.
    this.ready = false;
    this.waiting = 0;
    this.pause = RETRY_MS;
    doc.on("update", (update, origin) => origin !== this && this.edited(update));
    presence.onMove = () => this.ready && this.socket.send(presence.message());
    addEventListener("offline", () => this.socket && this.lost(""));
    addEventListener("online", () => this.connect());
    this.connect();
  }

  /** Work offline until `want(true)`. */
  want(wanted) {
    this.wanted = wanted;
    this.pause = RETRY_MS;
    if (wanted) this.connect();
    else this.lost("");
  }

  connect() {
    if (this.socket || !this.wanted || this.state === "refused") return;
    clearTimeout(this.retry);
    const socket = new WebSocket(this.url);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      socket.send(this.presence.message());
      socket.send(frame(HAVE, Y.encodeStateVector(this.doc)));
    };
    socket.onmessage = ({ data }) => this.received(data);
    socket.onclose = ({ reason }) => this.lost(reason);
    this.socket = socket;
  }

  /** The socket is of no use any more; its own goodbye may take long. */
  lost(reason) {
    const socket = this.socket;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    clearTimeout(this.silence);
    clearTimeout(this.retry);
    this.socket = null;
    this.ready = false;
    this.waiting = 0;
    this.presence.clear();
    // What the actor refuses it would refuse again: "user.CODE#RAY".
    const [group, code] = reason.split("#")[0].split(".");
    this.reason = group === "user" ? code : "";
    this.state = this.reason ? "refused" : "offline";
    if (this.state === "offline" && this.wanted) {
      this.retry = setTimeout(() => this.connect(), this.pause * (0.5 + Math.random()));
      this.pause = Math.min(2 * this.pause, RETRY_MS_MAX);
    }
    this.onStatus();
  }

  received(data) {
    if (typeof data === "string") {
      const told = JSON.parse(data);
      if (told.saved) this.saved(told.saved);
      else this.presence.hear(told);
      return;
    }
    const message = new Uint8Array(data);
    const body = message.subarray(1);
    if (message[0] === UPDATE) Y.applyUpdate(this.doc, body, this);
    else this.welcomed(body);
  }

  /** The actor says what it has: send what it lacks, and from here on each edit. */
  welcomed(have) {
    this.ready = true;
    this.state = "online";
    this.pause = RETRY_MS;
    if (this.unsaved || this.lacks(have)) {
      this.send(Y.encodeStateAsUpdate(this.doc, have));
    }
    this.onStatus();
  }

  lacks(have) {
    const theirs = Y.decodeStateVector(have);
    const own = Y.decodeStateVector(Y.encodeStateVector(this.doc));
    return [...own].some(([client, clock]) => (theirs.get(client) ?? 0) < clock);
  }

  edited(update) {
    this.unsaved = true;
    if (this.ready) this.send(update);
    this.onStatus();
  }

  send(update) {
    this.waiting += 1;
    this.socket.send(frame(UPDATE, update));
    this.listen();
  }

  saved(count) {
    this.waiting -= count;
    this.unsaved = this.waiting > 0;
    this.listen();
    this.onStatus();
  }

  /** A network that swallows what is sent says nothing. */
  listen() {
    clearTimeout(this.silence);
    if (this.waiting) this.silence = setTimeout(() => this.lost(""), SILENCE_MS);
  }
}

function frame(kind, body) {
  const message = new Uint8Array(body.length + 1);
  message[0] = kind;
  message.set(body, 1);
  return message;
}
