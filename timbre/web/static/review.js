// The review page: hear a line, set it right, go on. The server keeps the files; this page keeps what was done to them.
// Text comes and goes as text (textContent), never as HTML. Each part is a module that adds what it can do to `page`.

import { $, ask, make, note } from "./review-dom.js";
import { setUpEdits } from "./review-edits.js";
import { setUpFind } from "./review-find.js";
import { setUpKeys } from "./review-keys.js";
import { List } from "./review-list.js";
import * as model from "./review-model.js";
import { setUpOrder } from "./review-order.js";
import { setUpRows } from "./review-rows.js";
import { setUpSaving } from "./review-saving.js";
import { setUpSound } from "./review-sound.js";
import { secondsIn } from "./review-speech.js";
import { setUpSuggestions } from "./review-suggestions.js";
import { setUpText } from "./review-text.js";
import { Wave } from "./review-wave.js";

// What is open. `lines` is replaced at every edit, never changed: undo keeps the old ones.
const state = { id: "", speaker: "", seconds: 0, digest: "", lines: [], saved: [], words: [], draft: "", newer: false, dismissed: [],
  labels: [], harms: [], pace: [0, Infinity], peaks: null, speech: null, clipped: null, key: 0, past: [], future: [] };
const page = { state, audio: $("audio"), sync, select, take, listRecordings, open };
page.list = new List($("lines"), (key) => page.makeRow(key), (row, key) => page.fillRow(row, key));
page.wave = new Wave($("wave"), $("strip"), { seek: (time) => page.seek(time), drag: (...how) => page.drag(...how) });
page.indexOf = (key) => state.lines.findIndex((line) => line.key === key);
page.current = () => page.indexOf(state.key);
page.reveal = () => page.list.reveal(state.key);
for (const setUp of [setUpText, setUpSuggestions, setUpRows, setUpOrder, setUpEdits, setUpSound, setUpSaving, setUpFind, setUpKeys]) setUp(page);

let recordings = [];
async function listRecordings() {
  recordings = await ask("api/recordings");
  $("which").replaceChildren(...recordings.map((one) => {
    const option = make("option", "", one.problem ? `${one.id}: cannot be opened` : [`${one.id}   ${one.heard} of ${one.lines}`, one.sound].filter(Boolean).join(" · "));
    option.value = one.id;
    return option;
  }));
  $("which").value = state.id;
}

async function open(id) {
  page.audio.pause();
  let opened;
  try {
    opened = await ask(`api/recording/${encodeURIComponent(id)}`);
  } catch (error) {
    opened = { id, speaker: "", seconds: 0, digest: "", lines: [], words: [], draft: "", newer: false, dismissed: [], labels: [], harms: [], warning: error.message };
  }
  Object.assign(state, { id: opened.id, peaks: null, speech: null, clipped: null, past: [], future: [], key: 0 });
  history.replaceState(null, "", `#${opened.id}`);
  document.title = `${opened.id} · Timbre review`;
  $("which").value = opened.id;
  take(opened);
  page.wave.set({ peaks: null, from: 0, playhead: 0 });
  select(state.lines.find((line) => !model.heard(line))?.key ?? state.lines[0]?.key ?? 0);
  document.body.dataset.ready = opened.id;
  if (opened.seconds) {
    await new Promise((seen) => requestAnimationFrame(() => setTimeout(seen))); // the lines first, then their sound
    page.audio.src = `audio/${opened.id}`;
    bringPeaks(opened.id);
  } else page.audio.removeAttribute("src");
}

async function bringPeaks(id) {
  const [answer, facts] = await Promise.all([fetch(`api/peaks/${id}`).catch(() => null), ask(`api/sound/${id}`).catch(() => null)]);
  if (!answer?.ok || !facts) { note("the sound cannot be drawn; see the terminal"); return; }
  const peaks = new Uint8Array(await answer.arrayBuffer());
  if (state.id !== id) return;
  Object.assign(state, { peaks, speech: secondsIn(facts.speech), clipped: secondsIn(facts.clipped), pace: facts.pace });
  page.wave.set({ peaks });
  sync(false);
}

// The lines as they are on disk. A line that was here already keeps its key, so that nothing jumps.
function take(opened) {
  const at = state.lines[page.current()]?.start ?? 0;
  const known = new Map(state.lines.map((line) => [JSON.stringify(model.toFile(line)), line]));
  const lines = opened.lines.map((fields) => known.get(JSON.stringify(fields)) ?? model.fromFile(fields));
  const { speaker, seconds, digest, draft, newer, dismissed, labels, harms } = opened;
  Object.assign(state, { speaker, seconds, digest, draft, newer, dismissed, labels: model.readLabels(labels), harms: model.readLabels(harms), words: model.readWords(opened.words), lines, saved: lines });
  $("warning").textContent = opened.warning;
  $("warning").hidden = !opened.warning;
  if (page.indexOf(state.key) < 0) state.key = (lines.find((line) => line.end > at) ?? lines[0])?.key ?? 0;
  page.forgetTyping();
  sync(true);
  page.tellSaved();
}

// After any change of lines. With `structure` lines may have come, gone or changed their order.
function sync(structure) {
  if (structure) page.arrange();
  page.list.refreshAll();
  page.wave.set({ lines: state.lines, selected: page.current(), seconds: state.seconds || 1 });
  page.tellTime();
  page.tellSuggestions();
  const done = state.lines.filter(model.heard).length;
  $("progress").textContent = state.lines.length ? `${done} of ${state.lines.length} heard` : "No lines";
  $("bar").style.width = `${(100 * done) / Math.max(1, state.lines.length)}%`;
  const option = $("which").selectedOptions[0];
  if (option && state.lines.length) option.textContent = `${state.id}   ${done} of ${state.lines.length}`;
}

function select(key, show = true) {
  const before = state.key;
  state.key = key;
  for (const one of [before, key]) page.list.refresh(one);
  page.wave.set({ selected: page.current() });
  page.wave.follow();
  if (show) page.reveal();
  page.tellTime();
}

$("which").addEventListener("change", async () => {
  const id = $("which").value;
  if (await page.settled()) { await open(id); $("lines").focus({ preventScroll: true }); } else $("which").value = state.id;
});

const listing = listRecordings();
const wished = location.hash.slice(1);
if (wished) await open(wished);
await listing;
const first = recordings.find((one) => one.id === wished) ?? recordings.find((one) => !one.problem && one.heard < one.lines) ?? recordings.find((one) => !one.problem) ?? recordings[0];
if (!first) location.replace("record"); // nothing is declared yet: a recording can begin here
else if (first.id !== state.id) await open(first.id);
$("lines").focus({ preventScroll: true });
