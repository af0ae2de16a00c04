// The review page: hear a line, set it right, go on. The server keeps the files; this page keeps what was done to them.
// Text comes and goes as text (textContent), never as HTML.

import { List } from "./review-list.js";
import * as model from "./review-model.js";
import { Wave } from "./review-wave.js";

const $ = (id) => document.getElementById(id);
const make = (tag, name = "", text = "") => {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text) element.textContent = text;
  return element;
};

// What is open. `lines` is replaced at every edit, never changed: undo keeps the old ones.
const state = { id: "", speaker: "", seconds: 0, digest: "", lines: [], saved: [], words: [], pace: [0, 1], peaks: null, key: 0, past: [], future: [] };
let recordings = [];
const audio = $("audio");
const list = new List($("lines"), makeRow, fillRow);
const wave = new Wave($("wave"), $("strip"), { seek, drag });
const indexOf = (key) => state.lines.findIndex((line) => line.key === key);
const current = () => indexOf(state.key);

// ---- the server -----------------------------------------------------------------------------------------------------

async function ask(path, body) {
  const how = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, how);
  const value = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(value.error), { status: answer.status, value });
  return value;
}

async function listRecordings() {
  recordings = await ask("api/recordings");
  $("which").replaceChildren(...recordings.map((one) => {
    const option = make("option", "", one.problem ? `${one.id}: cannot be opened` : `${one.id}   ${one.heard} of ${one.lines}`);
    option.value = one.id;
    return option;
  }));
  $("which").value = state.id;
}

async function open(id) {
  audio.pause();
  let opened;
  try {
    opened = await ask(`api/recording/${encodeURIComponent(id)}`);
  } catch (error) {
    opened = { id, speaker: "", seconds: 0, digest: "", lines: [], words: [], warning: error.message };
  }
  Object.assign(state, { id: opened.id, peaks: null, past: [], future: [], key: 0 });
  history.replaceState(null, "", `#${opened.id}`);
  document.title = `${opened.id} · Timbre review`;
  $("which").value = opened.id;
  take(opened);
  wave.set({ peaks: null, from: 0, playhead: 0 });
  select(state.lines.find((line) => !model.heard(line))?.key ?? state.lines[0]?.key ?? 0);
  document.body.dataset.ready = opened.id;
  if (opened.seconds) {
    await new Promise((seen) => requestAnimationFrame(() => setTimeout(seen))); // the lines first, then their sound
    audio.src = `audio/${opened.id}`;
    fetch(`api/peaks/${opened.id}`).then((answer) => (answer.ok ? answer.arrayBuffer() : Promise.reject(answer))).then((peaks) => {
      if (state.id !== opened.id) return;
      state.peaks = new Uint8Array(peaks);
      wave.set({ peaks: state.peaks });
      list.refreshAll();
    }).catch(() => note("the sound cannot be drawn; see the terminal"));
  } else audio.removeAttribute("src");
}

// The lines as they are on disk. A line that was here already keeps its key, so that nothing jumps.
function take(opened) {
  const known = new Map(state.lines.map((line) => [JSON.stringify(model.toFile(line)), line]));
  const lines = opened.lines.map((fields) => known.get(JSON.stringify(fields)) ?? model.fromFile(fields));
  Object.assign(state, { speaker: opened.speaker, seconds: opened.seconds, digest: opened.digest, words: model.readWords(opened.words), lines, saved: lines });
  $("warning").textContent = opened.warning;
  $("warning").hidden = !opened.warning;
  if (indexOf(state.key) < 0) state.key = lines[0]?.key ?? 0;
  typing = null;
  sync(true);
  tellSaved();
}

// ---- saving: at once, one after the other, and only over what this page has read --------------------------------------

let saving = false, waiting = 0, conflict = null;
const unsaved = () => state.lines !== state.saved;

function saveSoon(delay) {
  clearTimeout(waiting);
  waiting = setTimeout(save, delay);
  tellSaved();
}

async function save() {
  clearTimeout(waiting);
  if (saving || conflict || !unsaved()) return;
  const blocked = state.lines.findIndex((line, i) => warned(line, i).some((warning) => warning.blocks));
  if (blocked >= 0) { tellSaved(`Not saved: the line at ${model.clock(state.lines[blocked].start)} is not complete`); return; }
  saving = true;
  const { id, lines, digest } = state;
  try {
    const answer = await ask(`api/recording/${id}`, { digest, lines: lines.map(model.toFile) });
    if (state.id === id) Object.assign(state, { digest: answer.digest, saved: lines });
    tellSaved();
  } catch (error) {
    if (error.status === 409) showConflict(error.value.theirs);
    else if (error.status) tellSaved(`Not saved: ${error.message}`);
    else {
      tellSaved("Not saved: the server does not answer. Your edits are kept here");
      waiting = setTimeout(save, 2000);
    }
    return;
  } finally {
    saving = false;
  }
  if (unsaved()) save();
}

async function settled() {
  commitTyping();
  for (let i = 0; i < 100 && (saving || unsaved()) && !conflict; i++) {
    await save();
    await new Promise((done) => setTimeout(done, 30));
  }
  return !unsaved();
}

function tellSaved(problem = "") {
  $("saved").textContent = problem || (unsaved() ? "Saving …" : state.digest ? "Saved" : state.lines.length ? "A draft: your first edit begins the transcript" : "");
  $("saved").classList.toggle("bad", Boolean(problem));
}

async function look() {
  if (!state.id || !state.seconds || saving || conflict || document.hidden) return;
  const { id } = state;
  const { digest } = await ask(`api/digest/${id}`).catch(() => ({ digest: state.digest }));
  if (state.id !== id || digest === state.digest || saving || conflict) return;
  if (unsaved()) { save(); return; }
  try {
    const opened = await ask(`api/recording/${id}`);
    if (unsaved() || state.id !== id) return;
    remember();
    take(opened);
    note("The file was edited elsewhere; these are its lines now");
  } catch (error) {
    tellSaved(`The file was edited elsewhere: ${error.message}`);
  }
}

function showConflict(theirs) {
  if (document.activeElement?.classList.contains("text")) document.activeElement.blur();
  conflict = theirs;
  const mine = state.lines.map((line) => JSON.stringify(model.toFile(line))), other = theirs.lines.map((fields) => JSON.stringify(fields));
  for (const [id, own, against] of [["mine", mine, new Set(other)], ["theirs", other, new Set(mine)]]) {
    const differing = own.filter((line) => !against.has(line)).map((line) => JSON.parse(line));
    $(id).replaceChildren(...differing.map(([start, , , flag, text]) => {
      const item = make("li");
      item.append(make("span", "when", model.clock(start)), make("span", "words", text), make("span", "soft", flag));
      return item;
    }));
    if (!differing.length) $(id).append(make("li", "soft", "nothing else"));
  }
  tellSaved("Not saved: the file changed meanwhile");
  $("conflict").showModal();
}

$("conflict").addEventListener("cancel", (event) => event.preventDefault()); // one of the two must be chosen
$("keep-mine").addEventListener("click", () => {
  state.digest = conflict.digest;
  conflict = null;
  $("conflict").close();
  save();
});
$("take-theirs").addEventListener("click", () => {
  const theirs = conflict;
  conflict = null;
  $("conflict").close();
  remember();
  take(theirs);
});

// ---- edits ------------------------------------------------------------------------------------------------------------

function remember(before = { lines: state.lines, key: state.key }) {
  state.past.push(before);
  if (state.past.length > 500) state.past.shift();
  state.future = [];
}

function edit(lines, key = state.key, structure = false) {
  remember();
  state.lines = lines;
  state.key = key;
  sync(structure);
  saveSoon(0);
}

function result({ lines, problem }, key) {
  if (problem) note(problem);
  else edit(lines, key, true);
  return !problem;
}

function stepBack(from, to) {
  commitTyping();
  if (!from.length) { note(from === state.past ? "nothing to undo" : "nothing to redo"); return; }
  to.push({ lines: state.lines, key: state.key });
  const { lines, key } = from.pop();
  document.activeElement?.classList.contains("text") && document.activeElement.blur();
  state.lines = lines;
  sync(true);
  select(indexOf(key) < 0 ? lines[0]?.key : key);
  saveSoon(0);
}

// Typing is one step until the line is left or a second passes without a key.
let typing = null;
function typed(key, text) {
  const index = indexOf(key);
  if (index < 0) return;
  if (!typing || typing.key !== key || performance.now() - typing.at > 1000) remember();
  typing = { key, at: performance.now() };
  state.lines = model.change(state.lines, index, { text: text.replace(/\s+/g, " ") });
  wave.set({ lines: state.lines });
  fillSide(list.rows.get(key), key);
  list.measure(key);
  saveSoon(350);
}

function commitTyping() {
  if (!typing) return;
  const index = indexOf(typing.key), line = state.lines[index];
  typing = null;
  if (line && line.text !== line.text.trim()) state.lines = model.change(state.lines, index, { text: line.text.trim() });
  sync(false);
  saveSoon(0);
}

function drag(key, start, end, done) {
  const index = indexOf(key);
  const { lines } = model.moved(state.lines, index, start, end, state.seconds);
  if (lines) {
    if (!drag.before) drag.before = { lines: state.lines, key: state.key };
    state.lines = lines;
    wave.set({ lines });
    list.refresh(key);
  }
  if (!done || !drag.before) return;
  remember(drag.before);
  drag.before = null;
  sync(false);
  saveSoon(0);
}

const actions = {
  play: () => (audio.paused ? playLine() : audio.pause()),
  next: () => step(1),
  previous: () => step(-1),
  accept() {
    const index = current();
    if (index < 0) return;
    const key = state.key, flag = state.lines[index].flag === "ok" ? "" : "ok";
    edit(model.change(state.lines, index, { flag }));
    if (flag && step(1) && !audio.paused) playLine();
    list.refresh(key);
  },
  drop() {
    const index = current();
    if (index >= 0) edit(model.change(state.lines, index, { flag: state.lines[index].flag === "drop" ? "" : "drop" }));
  },
  split() {
    const index = current(), line = state.lines[index];
    if (!line) return;
    let offset = caret(), time = null;
    if (offset === null) {
      time = audio.currentTime > line.start && audio.currentTime < line.end ? audio.currentTime : (line.start + line.end) / 2;
      offset = model.offsetAt(line, time, state.words);
    }
    leaveText();
    const made = model.split(state.lines, current(), offset, state.words, time);
    if (result(made, made.lines?.[index + 1].key)) reveal();
  },
  merge() {
    leaveText();
    result(model.merge(state.lines, current()), state.key);
  },
  "start earlier": () => nudge(-model.STEP, 0),
  "start later": () => nudge(model.STEP, 0),
  "end earlier": () => nudge(0, -model.STEP),
  "end later": () => nudge(0, model.STEP),
  undo: () => stepBack(state.past, state.future),
  redo: () => stepBack(state.future, state.past),
  write: () => focusText(),
  find: () => openFind(),
  help: () => $("help").showModal(),
  closer: () => wave.zoom(0.7),
  wider: () => wave.zoom(1.4),
  unsure: () => $("unsure").click(),
  unheard: () => $("unheard").click(),
};

function nudge(start, end) {
  const index = current(), line = state.lines[index];
  if (!line) return;
  const { lines, problem } = model.moved(state.lines, index, line.start + start, line.end + end, state.seconds);
  if (problem) note(problem);
  else edit(lines);
}

function step(by) {
  const at = list.index.get(state.key);
  const key = list.keys[at === undefined ? 0 : at + by];
  if (key === undefined) { note(by > 0 ? "this is the last line" : "this is the first line"); return false; }
  leaveText();
  select(key);
  return true;
}

// ---- what is seen -----------------------------------------------------------------------------------------------------

// After any change of lines. With `structure` lines may have come, gone or changed their order.
function sync(structure) {
  state.pace = model.usualPace(state.lines);
  if (structure) arrange();
  list.refreshAll();
  const index = current();
  wave.set({ lines: state.lines, selected: index, seconds: state.seconds || 1 });
  tellTime();
  const done = state.lines.filter(model.heard).length;
  $("progress").textContent = state.lines.length ? `${done} of ${state.lines.length} heard` : "No lines";
  $("bar").style.width = `${(100 * done) / Math.max(1, state.lines.length)}%`;
  const option = $("which").selectedOptions[0];
  if (option && state.lines.length) option.textContent = `${state.id}   ${done} of ${state.lines.length}`;
}

// A line that is accepted stays in sight of a filter until the filter is set again: nothing vanishes under one's hands.
let arranged = "";
function arrange(anew = false) {
  const how = { unsure: $("unsure").checked, unheard: $("unheard").checked };
  const name = JSON.stringify([state.id, how]);
  let keys = model.order(state.lines, state.words, how).map((line) => line.key);
  if ((how.unsure || how.unheard) && name === arranged && !anew) {
    const there = new Set(state.lines.map((line) => line.key)), shown = new Set(list.keys);
    const kept = list.keys.filter((key) => there.has(key));
    for (const key of keys.filter((one) => !shown.has(one))) { // beside the line that it was split from
      const above = state.lines[indexOf(key) - 1]?.key;
      kept.splice(kept.indexOf(above) + 1 || kept.length, 0, key);
    }
    keys = kept;
  }
  arranged = name;
  list.show(keys);
  const filtered = how.unheard && keys.length !== state.lines.length;
  $("count").textContent = filtered ? `${keys.length} ${keys.length === 1 ? "line" : "lines"}` : "";
}

function select(key, show = true) {
  const before = state.key;
  state.key = key;
  for (const one of [before, key]) list.refresh(one);
  wave.set({ selected: current() });
  wave.follow();
  if (show) reveal();
  tellTime();
}

const reveal = () => list.reveal(state.key);
const warned = (line, index) => model.warnings(line, state.lines[index - 1], state.words, state.pace, state.peaks);

function makeRow(key) {
  const row = make("article", "row");
  row.dataset.key = key;
  const play = make("button", "times");
  play.type = "button";
  play.tabIndex = -1;
  play.addEventListener("click", () => { select(key, false); playLine(); });
  const text = make("div", "text");
  text.contentEditable = "plaintext-only";
  text.spellcheck = true;
  text.setAttribute("role", "textbox");
  text.addEventListener("focus", () => { if (state.key !== key) select(key, false); });
  text.addEventListener("beforeinput", () => flatten(text));
  text.addEventListener("input", () => typed(key, text.textContent));
  text.addEventListener("blur", () => { commitTyping(); list.refresh(key); });
  const side = make("div", "side");
  row.append(play, text, side);
  row.addEventListener("click", (event) => {
    if (state.key !== key) select(key, false);
    if (!event.target.closest(".text, button")) $("lines").focus({ preventScroll: true });
  });
  return row;
}

function fillRow(row, key) {
  const index = indexOf(key), line = state.lines[index];
  if (!line) return;
  const [play, text] = row.children;
  row.classList.toggle("chosen", key === state.key);
  row.dataset.flag = line.flag;
  play.textContent = model.clock(line.start);
  play.setAttribute("aria-label", `Play line ${index + 1}, at ${model.clock(line.start)}`);
  text.setAttribute("aria-label", `Words of line ${index + 1}`);
  if (document.activeElement !== text) fillText(text, line);
  fillSide(row, key);
}

function fillText(text, line) {
  text.replaceChildren(...model.pieces(line, state.words).map(({ text: piece, word }) => {
    const sure = word ? word.sure : 1;
    if (sure >= 0.8 || model.heard(line)) return document.createTextNode(piece);
    const span = make("span", sure < 0.5 ? "unsure" : "hesitant", piece);
    span.title = `Whisper: ${Math.round(100 * sure)} % sure`;
    return span;
  }));
}

function fillSide(row, key) {
  if (!row) return;
  const index = indexOf(key), line = state.lines[index], side = row.lastElementChild;
  const found = warned(line, index).map(({ text, blocks }) => make("span", blocks ? "chip poor" : "chip fair", text));
  if (line.speaker !== state.speaker) found.unshift(make("span", "chip", line.speaker));
  const flags = make("span", "flags");
  for (const [flag, sign, name] of [["ok", "✓", "Heard, and right"], ["drop", "×", "Leave this line out"]]) {
    const button = make("button", `flag ${flag}`, sign);
    button.type = "button";
    button.tabIndex = -1;
    button.title = name;
    button.setAttribute("aria-label", name);
    button.setAttribute("aria-pressed", String(line.flag === flag));
    button.addEventListener("click", () => {
      const at = indexOf(key);
      edit(model.change(state.lines, at, { flag: state.lines[at].flag === flag ? "" : flag }), key);
    });
    flags.append(button);
  }
  side.replaceChildren(...found, flags);
}

let noted = 0;
function note(text) {
  $("note").textContent = text;
  $("note").classList.add("seen");
  clearTimeout(noted);
  noted = setTimeout(() => $("note").classList.remove("seen"), 3500);
}

// ---- text: where the caret is -----------------------------------------------------------------------------------------

const writing = () => (document.activeElement?.classList.contains("text") ? document.activeElement : null);

function caret() {
  const text = writing(), selection = getSelection();
  if (!text || !selection.rangeCount) return null;
  const range = selection.getRangeAt(0).cloneRange();
  range.setStart(text, 0);
  return range.toString().length;
}

// While one writes the text is one piece: the browser would carry a removed word's style along into what is written.
function flatten(text) {
  const selection = getSelection();
  if (!text.firstElementChild || !text.textContent || !selection.rangeCount) return; // an empty line holds a <br>
  const range = selection.getRangeAt(0), before = range.cloneRange();
  before.setStart(text, 0);
  const end = before.toString().length, start = end - range.toString().length;
  text.textContent = text.textContent;
  selection.setBaseAndExtent(text.firstChild, start, text.firstChild, end);
}

function leaveText() {
  if (writing()) $("lines").focus({ preventScroll: true });
}

function focusText() {
  reveal();
  const text = list.rows.get(state.key)?.querySelector(".text");
  if (!text) return;
  text.focus();
  getSelection().selectAllChildren(text);
  getSelection().collapseToEnd();
}

// ---- sound ------------------------------------------------------------------------------------------------------------

let until = Infinity;
function playLine() {
  const line = state.lines[current()];
  if (line) playFrom(line.start, line.end);
}

function playFrom(start, end) {
  until = end;
  audio.currentTime = start;
  audio.playbackRate = Number($("speed").value);
  audio.play().catch((error) => { if (error.name !== "AbortError") note("the sound cannot be played here"); });
}

function seek(time) {
  const line = state.lines.find((one) => time >= one.start && time < one.end);
  if (line) select(line.key);
  else { wave.move(time - wave.span / 2); }
  playFrom(time, line ? line.end : Math.min(time + 10, state.seconds));
}

function follow() {
  wave.set({ playhead: audio.currentTime });
  tellTime();
  if (audio.currentTime >= until) audio.pause();
  if (!audio.paused) requestAnimationFrame(follow);
}

function tellTime() {
  const line = state.lines[current()];
  $("time").textContent = line ? `${model.clock(audio.paused ? line.start : audio.currentTime)} – ${model.clock(line.end)}` : "";
}

audio.addEventListener("play", () => { document.body.classList.add("playing"); $("play").setAttribute("aria-label", "Pause"); follow(); });
audio.addEventListener("pause", () => { document.body.classList.remove("playing"); $("play").setAttribute("aria-label", "Play the line"); wave.set({ playhead: audio.currentTime }); });
audio.addEventListener("error", () => { if (audio.src) note("the sound cannot be loaded; `dvc repro fetch` brings it"); });
$("speed").addEventListener("change", () => { audio.playbackRate = Number($("speed").value); });

// ---- find and replace -------------------------------------------------------------------------------------------------

let preview = null;
function openFind() {
  const chosen = String(getSelection()).trim();
  if (chosen && writing() && !chosen.includes("\n")) $("old").value = chosen;
  $("find").showModal();
  $("old").select();
  search();
}

let searching = 0;
function searchSoon() {
  clearTimeout(searching);
  preview = null;
  $("replace").disabled = true;
  searching = setTimeout(search, 150);
}

async function search() {
  const asked = { old: $("old").value, new: $("new").value, ignore_case: $("case").checked };
  $("preview").replaceChildren();
  $("found").textContent = "";
  if (!asked.old.trim()) return;
  if (!(await settled())) { $("found").textContent = "first the open recording must be saved"; return; }
  try {
    const answer = await ask("api/find", asked);
    if (asked.old !== $("old").value || asked.new !== $("new").value || asked.ignore_case !== $("case").checked) return;
    const places = answer.found.reduce((sum, line) => sum + line.pieces.length - 1, 0);
    preview = { ...asked, digests: answer.digests };
    $("replace").disabled = !places;
    $("replace").textContent = places ? `Replace ${places}` : "Replace";
    $("found").textContent = places ? `${places} ${places === 1 ? "place" : "places"} in ${answer.found.length} ${answer.found.length === 1 ? "line" : "lines"}` : "Not found; drafts that nobody has begun to correct are left as they are";
    $("preview").append(...answer.found.slice(0, 200).map(shownHit));
    if (answer.found.length > 200) $("preview").append(make("li", "soft", `and ${answer.found.length - 200} lines more`));
  } catch (error) {
    $("found").textContent = error.message;
  }
}

function shownHit({ id, number, pieces }) {
  const item = make("li");
  item.append(make("span", "when", `${id}:${number}`));
  const words = make("span", "words");
  for (const [same, gone, come] of pieces) {
    words.append(same);
    if (gone) words.append(make("del", "", gone));
    if (come) words.append(make("ins", "", come));
  }
  item.append(words);
  return item;
}

$("replace").addEventListener("click", async () => {
  if (!preview) return;
  $("replace").disabled = true;
  try {
    const { places } = await ask("api/replace", preview);
    remember();
    take(await ask(`api/recording/${state.id}`));
    $("find").close();
    listRecordings();
    note(`${places} ${places === 1 ? "place" : "places"} replaced; git diff shows them`);
  } catch (error) {
    await search();
    $("found").textContent = error.message;
  }
});
for (const id of ["old", "new", "case"]) $(id).addEventListener("input", searchSoon);
$("find").addEventListener("keydown", (event) => { if (event.key === "Enter" && event.target.tagName === "INPUT") search(); });
$("close-find").addEventListener("click", () => $("find").close());

// ---- keys -------------------------------------------------------------------------------------------------------------

const KEYS = [ // [action, what it does, keys as shown, codes]; Shift+ in front where it is needed
  ["play", "play the line, or pause", "Space", ["Space"]],
  ["next", "next line", "↓ or J", ["ArrowDown", "KeyJ"]],
  ["previous", "previous line", "↑ or K", ["ArrowUp", "KeyK"]],
  ["accept", "heard, and right: flag ok, go on", "A", ["KeyA"]],
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
  ["closer", "see less of the sound, closer", "+", ["Equal", "Shift+Equal", "NumpadAdd"]],
  ["wider", "see more of it", "−", ["Minus", "NumpadSubtract"]],
  ["help", "these keys", "?", []],
];
const BY_CODE = new Map(KEYS.flatMap(([action, , , codes]) => codes.map((code) => [code, action])));
const WITH_CTRL = { KeyZ: "undo", "Shift+KeyZ": "redo", KeyY: "redo", KeyF: "find", Enter: "accept", Space: "play", KeyS: "save" };

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]") || event.isComposing) return;
  const text = writing(), field = event.target.closest?.("select, input, header button, .controls button");
  const code = (event.shiftKey ? "Shift+" : "") + event.code;
  let action;
  if (event.ctrlKey || event.metaKey) action = WITH_CTRL[code];
  else if (text && !event.altKey) {
    if (event.key === "Escape") action = "leave";
    else if (event.key === "Enter") action = caret() >= text.textContent.trimEnd().length ? "leave" : "split";
    else if (event.key === "Tab") action = event.shiftKey ? "write previous" : "write next";
  } else if (field) return;
  else if (event.key === "?") action = "help";
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
$("open-help").addEventListener("click", actions.help);
$("open-find").addEventListener("click", openFind);
$("play").addEventListener("click", actions.play);
for (const id of ["unsure", "unheard"]) {
  $(id).addEventListener("change", () => { leaveText(); arrange(true); if (!list.index.has(state.key) && list.keys.length) select(list.keys[0]); else reveal(); $("lines").focus({ preventScroll: true }); });
}
$("which").addEventListener("change", async () => {
  const id = $("which").value;
  if (await settled()) { await open(id); $("lines").focus({ preventScroll: true }); } else $("which").value = state.id;
});
addEventListener("beforeunload", (event) => { commitTyping(); if (unsaved()) { save(); event.preventDefault(); } });
addEventListener("focus", look);
setInterval(look, 2000);

const listing = listRecordings();
const wished = location.hash.slice(1);
if (wished) await open(wished);
await listing;
const first = recordings.find((one) => one.id === wished) ?? recordings.find((one) => !one.problem && one.heard < one.lines) ?? recordings.find((one) => !one.problem) ?? recordings[0];
if (first.id !== state.id) await open(first.id);
$("lines").focus({ preventScroll: true });
