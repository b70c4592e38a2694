// The page of a document: an editor, who else is here, and whether everything is saved.
import { defaultKeymap } from "@codemirror/commands";
import { EditorState } from "@codemirror/state";
import { EditorView, keymap, placeholder } from "@codemirror/view";
import { yCollab, yUndoManagerKeymap } from "y-codemirror.next";
import * as Y from "yjs";
import { Presence, user } from "./presence.js";
import { Room } from "./room.js";

const NAMES = ["Ada", "Grace", "Alan", "Barbara", "Edsger", "Frances", "Donald", "Radia"];
const REFUSALS = {
  bad_message: "This page and its server do not understand each other. Reload the page.",
  bad_name: "Your name was refused. Reload the page.",
  bad_presence: "Your name was refused. Choose another and reload the page.",
  bad_update: "Your edits were refused. Copy your text, and reload the page.",
  document_full: "The document is full. Your latest edits are not saved: copy them.",
  too_many_editors: "Too many people are here. Reload the page later.",
  update_too_large: "You changed too much at once. It is not saved: copy it, and reload the page.",
};

const $ = (id) => document.getElementById(id);

const title = new URLSearchParams(location.search).get("rvt-key") ?? "document";
$("title").textContent = document.title = title;

const doc = new Y.Doc();
const text = doc.getText("text");
const presence = new Presence(doc, ownName());
// The actor's WebSocket is beside its page, however the actor was named in the URL.
const url = new URL(location.href.split("#")[0].replace(/^http/, "ws"));
url.pathname = url.pathname.replace(/\/request\/?$/, "/websocket/");
const room = new Room(url, doc, presence, showStatus);

new EditorView({
  parent: $("paper"),
  state: EditorState.create({
    extensions: [
      keymap.of([...yUndoManagerKeymap, ...defaultKeymap]),
      EditorView.lineWrapping,
      EditorView.contentAttributes.of({ "aria-label": title, spellcheck: "true" }),
      placeholder("Write something, and open this page in a second window."),
      yCollab(text, presence),
    ],
  }),
}).focus();

presence.on("change", showPeople);
$("name").value = presence.name;
$("name").addEventListener("change", () => {
  presence.rename($("name").value.trim() || presence.name);
  $("name").value = presence.name;
  sessionStorage.setItem("name", presence.name);
  showPeople();
});
$("offline").addEventListener("click", () => {
  room.want(!room.wanted);
  $("offline").setAttribute("aria-pressed", String(!room.wanted));
});
addEventListener("beforeunload", (event) => room.unsaved && event.preventDefault());
showPeople();
showStatus();

/** Each tab is somebody, also after it was loaded again. */
function ownName() {
  const name = sessionStorage.getItem("name") ?? NAMES[Math.floor(Math.random() * NAMES.length)];
  sessionStorage.setItem("name", name);
  return name;
}

function showStatus() {
  const { state, unsaved, reason } = room;
  const [shown, words] =
    state === "refused"
      ? ["refused", REFUSALS[reason] ?? `Refused: ${reason}`]
      : state === "offline"
        ? ["offline", unsaved ? "Offline, your edits are kept here" : "Offline"]
        : state === "connecting"
          ? ["connecting", "Connecting"]
          : unsaved
            ? ["saving", "Saving"]
            : ["saved", "Saved"];
  $("status").dataset.state = shown;
  $("status").textContent = words;
}

function showPeople() {
  $("name").style.setProperty("--own", user(presence.name).color);
  const people = [...presence.getStates().values()].map((state) => {
    const item = document.createElement("li");
    item.textContent = state.user.name;
    item.style.background = state.user.color;
    return item;
  });
  $("people").replaceChildren(...people);
}
