// The recording booth: a sentence, a take, the next one. The server keeps each take as soon as it ends.

import { $, ask, make, note } from "./review-dom.js";
import { inputs, Microphone } from "./record-microphone.js";
import { Picture } from "./record-picture.js";
import { setUpForm } from "./record-form.js";

const state = { id: "", sentences: [], at: 0, busy: false, wished: null, peak: 0, ready: false };
const audio = $("audio"), picture = new Picture($("picture"));
const microphone = new Microphone((peak) => { state.peak = Math.max(peak, state.peak * 0.9); picture.hear(peak); }, () => record());
const current = () => state.sentences[state.at];

// ---- the session ------------------------------------------------------------------------------------------------------

function enter(session) {
  Object.assign(state, { id: session.id, sentences: session.sentences });
  state.at = Math.max(0, session.sentences.findIndex((one) => !one.take));
  history.replaceState(null, "", `#${session.id}`);
  document.title = `${session.id} · Timbre record`;
  $("who").textContent = `${session.id}, read by ${session.speaker}`;
  $("begin").hidden = true;
  for (const shown of [$("booth"), $("finish"), document.querySelector(".progress")]) shown.hidden = false;
  $("strip").replaceChildren(...session.sentences.map((one, index) => {
    const tick = make("button");
    tick.type = "button";
    tick.title = one.text;
    tick.setAttribute("aria-label", `Sentence ${index + 1}`);
    tick.addEventListener("click", () => go(index));
    return tick;
  }));
  show();
  openMicrophone();
  document.body.dataset.ready = session.id;
}

async function openMicrophone(device) {
  try {
    await microphone.open(device);
    state.ready = true;
    $("input").replaceChildren(...(await inputs()).map((one, i) => {
      const option = make("option", "", one.label || `Microphone ${i + 1}`);
      option.value = one.deviceId;
      return option;
    }));
    $("input").value = microphone.device;
    document.querySelector(".input").hidden = false;
    warn("");
  } catch (error) {
    state.ready = false;
    warn({ NotAllowedError: "The browser may not use the microphone: allow it beside the address, then press Space.",
      NotFoundError: "There is no microphone; plug one in, then press Space.",
      NotReadableError: "Another program holds the microphone; end it there, then press Space." }[error.name] ?? `The microphone cannot be used: ${error.message}`);
  }
}

function warn(text) {
  $("warning").textContent = text;
  $("warning").hidden = !text;
}

function go(index) {
  if (microphone.recording && !state.busy) return;
  if (state.busy) { state.wished = index; return; } // as soon as the take is saved
  if (index < 0 || index >= state.sentences.length) { note(index < 0 ? "this is the first sentence" : "this is the last sentence"); return; }
  audio.pause();
  state.at = index;
  show();
}

// ---- a take -----------------------------------------------------------------------------------------------------------

async function record() {
  if (state.busy) return;
  if (!state.ready) { await openMicrophone(); return; }
  audio.pause();
  if (!microphone.recording) {
    microphone.start();
    picture.live();
    showTake();
    return;
  }
  state.busy = true;
  const one = current();
  try {
    const blob = await microphone.stop();
    showTake();
    await keep(one, blob);
  } finally {
    state.busy = false;
    if (state.wished === null) show();
    else go(state.wished);
    state.wished = null;
  }
}

async function keep(one, blob) {
  for (let wait = 1000; ; wait = Math.min(2 * wait, 8000)) {
    try {
      const answer = await fetch(`api/take/${state.id}/${one.key}`, { method: "POST", headers: { "Content-Type": "audio/wav" }, body: blob });
      const value = await answer.json();
      Object.assign(one, answer.ok ? { take: value, problem: "" } : { problem: value.error });
      return;
    } catch {
      note("The server does not answer; the take waits here");
      await new Promise((done) => setTimeout(done, wait));
    }
  }
}

function listen() {
  if (!current().take || state.busy || microphone.recording) return;
  if (!audio.paused) { audio.pause(); return; }
  audio.src = `take/${state.id}/${current().key}?${performance.now()}`;
  audio.play().catch((error) => { if (error.name !== "AbortError") note("the take cannot be played"); });
}

async function remove() {
  const one = current();
  if (!one.take || state.busy || microphone.recording) return;
  await picture.loaded;
  await ask(`api/untake/${state.id}/${one.key}`, {});
  one.take = null;
  show();
}

async function finish() {
  if (state.busy || microphone.recording) return;
  state.busy = true;
  $("finish").disabled = true;
  try {
    await picture.loaded;
    const recording = await ask(`api/finish/${state.id}`, {});
    microphone.close();
    $("made").textContent = `${recording.lines} ${recording.lines === 1 ? "sentence" : "sentences"}, ${Math.round(recording.seconds)} seconds, each with its exact times.${unreviewed(recording.unreviewed)}`;
    $("files").replaceChildren(...[recording.recording, recording.transcript, "data/sources.yaml"].map((file) => make("li", "", file)));
    $("booth").hidden = $("finish").hidden = document.querySelector(".input").hidden = true;
    $("done").hidden = false;
    warn("");
  } catch (error) {
    warn(error.message);
  } finally {
    state.busy = false;
    $("finish").disabled = false;
  }
}

function unreviewed(count) {
  if (!count) return "";
  return count === 1 ? " One take has a warning: hear it in the review page." : ` ${count} takes have a warning: hear them in the review page.`;
}

// ---- what is seen -----------------------------------------------------------------------------------------------------

function show() {
  const done = state.sentences.filter((one) => one.take).length;
  $("place").textContent = `Sentence ${state.at + 1} of ${state.sentences.length}`;
  $("sentence").textContent = current().text;
  $("progress").textContent = `${done} of ${state.sentences.length} recorded`;
  $("bar").style.width = `${(100 * done) / state.sentences.length}%`;
  $("finish").disabled = !done;
  [...$("strip").children].forEach((tick, index) => {
    const { take } = state.sentences[index];
    tick.className = !take ? "" : take.warnings.length ? "doubtful" : "taken";
    tick.setAttribute("aria-current", index === state.at ? "true" : "false");
  });
  $("strip").children[state.at].scrollIntoView({ block: "nearest" });
  showTake();
  if (current().take) picture.show(`take/${state.id}/${current().key}?${performance.now()}`, current().take);
  else picture.clear();
}

function showTake() {
  const one = current(), { take } = one, { recording } = microphone;
  document.body.classList.toggle("recording", recording);
  $("record").setAttribute("aria-label", recording ? "Stop" : take ? "Record again" : "Record");
  $("listen").disabled = $("remove").disabled = !take || recording;
  $("hint").textContent = recording || take ? "" : "Press Space and read.";
  const told = recording || state.busy ? [] : [...(one.problem ? [one.problem] : []), ...(take?.warnings ?? [])];
  $("told").replaceChildren(...told.map((text) => make("li", `chip ${text === one.problem ? "poor" : "fair"}`, text)));
  if (state.busy) $("told").append(make("li", "chip", "saving …"));
  else if (take && !told.length && !recording) $("told").append(make("li", "chip good", `saved: ${(take.end - take.start).toFixed(1)} s, ${Math.round(take.level)} dB`));
}

function meter() {
  state.peak *= 0.96;
  const decibels = Math.max(-60, 20 * Math.log10(Math.max(state.peak, 1e-6)));
  const bar = $("meter");
  bar.firstElementChild.style.width = `${(100 * (decibels + 60)) / 60}%`;
  bar.setAttribute("aria-valuenow", Math.round(decibels));
  bar.className = state.peak >= 0.99 ? "over" : decibels < -30 ? "low" : "";
  requestAnimationFrame(meter);
}

const actions = { Space: record, KeyL: listen, KeyR: record, Enter: () => go(state.at + 1), ArrowRight: () => go(state.at + 1), ArrowLeft: () => go(state.at - 1), KeyX: remove, Delete: remove };
document.addEventListener("keydown", (event) => {
  if ($("booth").hidden || event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target.closest("select, a, header button")) return;
  const action = actions[/^[a-z]$/i.test(event.key) ? `Key${event.key.toUpperCase()}` : event.code];
  if (!action) return;
  event.preventDefault();
  action();
});
for (const [id, action] of [["record", record], ["listen", listen], ["remove", remove], ["finish", finish], ["next", actions.ArrowRight], ["previous", actions.ArrowLeft]]) {
  $(id).addEventListener("click", action);
}
$("input").addEventListener("change", () => openMicrophone($("input").value));
audio.addEventListener("play", () => $("listen").classList.add("on"));
audio.addEventListener("pause", () => $("listen").classList.remove("on"));
audio.addEventListener("timeupdate", () => picture.play(audio.currentTime));
addEventListener("beforeunload", (event) => { if (microphone.recording || state.busy) event.preventDefault(); });

await setUpForm(enter, warn);
meter();
