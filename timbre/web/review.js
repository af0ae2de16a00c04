// The review page: hear a line, set it right, go on. The server keeps the files; this page keeps what was done to them.
// Text comes and goes as text (textContent), never as HTML.

import { $, ask, make, note } from "./review-dom.js";
import { setUpFind } from "./review-find.js";
import { setUpKeys } from "./review-keys.js";
import { List } from "./review-list.js";
import * as model from "./review-model.js";
import { setUpSaving } from "./review-saving.js";
import { Wave } from "./review-wave.js";

// What is open. `lines` is replaced at every edit, never changed: undo keeps the old ones.
const state = { id: "", speaker: "", seconds: 0, digest: "", lines: [], saved: [], words: [], pace: [0, 1], peaks: null, key: 0, past: [], future: [] };
let recordings = [];
const audio = $("audio");
const list = new List($("lines"), makeRow, fillRow);
const wave = new Wave($("wave"), $("strip"), { seek, drag });
const indexOf = (key) => state.lines.findIndex((line) => line.key === key);
const current = () => indexOf(state.key);

// ---- the server -----------------------------------------------------------------------------------------------------

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
  const at = state.lines[current()]?.start ?? 0;
  const known = new Map(state.lines.map((line) => [JSON.stringify(model.toFile(line)), line]));
  const lines = opened.lines.map((fields) => known.get(JSON.stringify(fields)) ?? model.fromFile(fields));
  Object.assign(state, { speaker: opened.speaker, seconds: opened.seconds, digest: opened.digest, words: model.readWords(opened.words), lines, saved: lines });
  $("warning").textContent = opened.warning;
  $("warning").hidden = !opened.warning;
  if (indexOf(state.key) < 0) state.key = (lines.find((line) => line.end > at) ?? lines[0])?.key ?? 0;
  typing = null;
  sync(true);
  tellSaved();
}

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
    if (!event.target.closest(".text")) $("lines").focus({ preventScroll: true });
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

const { save, saveSoon, settled, tellSaved } = setUpSaving({ state, take, remember, commitTyping, warned });
const openFind = setUpFind({ state, settled, remember, take, listRecordings, writing });
setUpKeys({ actions, writing, caret, leaveText, focusText, commitTyping, step, save });

$("open-help").addEventListener("click", actions.help);
$("play").addEventListener("click", actions.play);
for (const id of ["unsure", "unheard"]) {
  $(id).addEventListener("change", () => { leaveText(); arrange(true); if (!list.index.has(state.key) && list.keys.length) select(list.keys[0]); else reveal(); $("lines").focus({ preventScroll: true }); });
}
$("which").addEventListener("change", async () => {
  const id = $("which").value;
  if (await settled()) { await open(id); $("lines").focus({ preventScroll: true }); } else $("which").value = state.id;
});

const listing = listRecordings();
const wished = location.hash.slice(1);
if (wished) await open(wished);
await listing;
const first = recordings.find((one) => one.id === wished) ?? recordings.find((one) => !one.problem && one.heard < one.lines) ?? recordings.find((one) => !one.problem) ?? recordings[0];
if (!first) location.replace("record"); // nothing is declared yet: a recording can begin here
else if (first.id !== state.id) await open(first.id);
$("lines").focus({ preventScroll: true });
