// The keys: one list that the page obeys and that its help shows.

import { $, make } from "./review-dom.js";
import { STEP } from "./review-model.js";

const KEYS = [ // [action, what it does, keys as shown, codes]; Shift+ in front where it is needed
  ["play", "play the line, or pause", "Space", ["Space"]],
  ["next", "next line", "↓ or J", ["ArrowDown", "KeyJ"]],
  ["previous", "previous line", "↑ or K", ["ArrowUp", "KeyK"]],
  ["accept", "heard, and right: flag ok, go on (Z takes it back)", "A", ["KeyA"]],
  ["drop", "leave the line out, or take it back", "D", ["KeyD"]],
  ["write", "write in the line; Esc leaves it", "Enter", ["Enter"]],
  ["split", "split at the caret, or where the sound is", "S, or Enter in the words", ["KeyS"]],
  ["merge", "merge with the next line", "M", ["KeyM"]],
  ["start earlier", "start 50 ms earlier", "[", ["BracketLeft"]],
  ["start later", "start 50 ms later", "]", ["BracketRight"]],
  ["end earlier", "end 50 ms earlier", "Shift [", ["Shift+BracketLeft"]],
  ["end later", "end 50 ms later", "Shift ]", ["Shift+BracketRight"]],
  ["undo", "undo", "Z, or Ctrl Z", ["KeyZ"]],
  ["redo", "redo", "Shift Z, or Ctrl Shift Z", ["Shift+KeyZ"]],
  ["find", "find and replace", "F, or Ctrl F", ["KeyF"]],
  ["unsure", "least certain first, or in order", "U", ["KeyU"]],
  ["unheard", "only what was not heard yet", "H", ["KeyH"]],
  ["differs", "only where a newer draft differs", "Shift N", ["Shift+KeyN"]],
  ["take", "take the newer draft’s words", "Y", ["KeyY"]],
  ["dismiss", "dismiss them", "N", ["KeyN"]],
  ["labels", "worst label first: where Whisper hears the clip otherwise", "L", ["KeyL"]],
  ["harm", "most harmful first, as `timbre value` found", "V", ["KeyV"]],
  ["closer", "see less of the sound, closer", "+", ["Equal", "Shift+Equal", "NumpadAdd"]],
  ["wider", "see more of it", "−", ["Minus", "NumpadSubtract"]],
  ["help", "these keys", "?", []],
];
const BY_CODE = new Map(KEYS.flatMap(([action, , , codes]) => codes.map((code) => [code, action])));
const WITH_CTRL = { KeyZ: "undo", "Shift+KeyZ": "redo", KeyY: "redo", KeyF: "find", Enter: "accept", Space: "play", KeyS: "save" };
const BY_SIGN = { "[": "start earlier", "]": "start later", "{": "end earlier", "}": "end later", "+": "closer", "-": "wider", "?": "help" };
const MAC = /Mac/.test(navigator.platform); // there Alt and a letter is another letter
// by what is printed on the key where that is a Latin letter, else by the key's place
const place = (event) => (/^[a-z]$/i.test(event.key) ? `Key${event.key.toUpperCase()}` : event.code);

export function setUpKeys(page) {
  const { writing, caret, leaveText, focusText, commitTyping, step, save, nudge, wave } = page;
  const actions = {
    play: page.playOrPause,
    next: () => step(1),
    previous: () => step(-1),
    accept: page.accept,
    drop: page.drop,
    split: page.split,
    merge: page.merge,
    "start earlier": () => nudge(-STEP, 0),
    "start later": () => nudge(STEP, 0),
    "end earlier": () => nudge(0, -STEP),
    "end later": () => nudge(0, STEP),
    undo: page.undo,
    redo: page.redo,
    write: focusText,
    find: page.openFind,
    take: page.takeSuggestion,
    dismiss: page.dismissSuggestion,
    help: () => $("help").showModal(),
    closer: () => wave.zoom(0.7),
    wider: () => wave.zoom(1.4),
    unsure: () => $("unsure").click(),
    unheard: () => $("unheard").click(),
    differs: () => { if (!$("differs").parentElement.hidden) $("differs").click(); },
    labels: () => { if (!$("labels").parentElement.hidden) $("labels").click(); },
    harm: () => { if (!$("harm").parentElement.hidden) $("harm").click(); },
  };
  $("open-help").addEventListener("click", actions.help);

  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]") || event.isComposing) return;
    const graph = event.getModifierState("AltGraph"); // types a letter: Polish ż is AltGr and Z
    const text = writing(), field = event.target.closest?.("select, input, header button, .controls button");
    const code = (event.shiftKey ? "Shift+" : "") + place(event);
    let action;
    if (graph && text) return;
    if ((event.ctrlKey || event.metaKey) && !graph) action = WITH_CTRL[code];
    else if (text && (!event.altKey || MAC)) {
      if (event.key === "Escape") action = "leave";
      else if (event.key === "Enter") action = caret() >= text.textContent.trimEnd().length ? "leave" : "split";
      else if (event.key === "Tab") action = event.shiftKey ? "write previous" : "write next";
    } else if (field) return;
    else if (event.key in BY_SIGN) action = BY_SIGN[event.key];
    else action = BY_CODE.get(code);
    if (!action) return;
    event.preventDefault();
    if (action === "leave") leaveText();
    else if (action === "save") save();
    else if (action.startsWith("write ")) { if (step(action === "write next" ? 1 : -1)) focusText(); }
    else {
      if (text && action !== "split" && action !== "play") commitTyping();
      actions[action]();
    }
  });

  $("keys").append(...KEYS.flatMap(([, what, shown]) => [make("dt", "", shown), make("dd", "", what)]));
}
