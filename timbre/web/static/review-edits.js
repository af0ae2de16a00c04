// What can be done to lines, each as one step that can be taken back.

import { note } from "./review-dom.js";
import * as model from "./review-model.js";

export function setUpEdits(page) {
  const { state, list, wave, audio, indexOf, current } = page;
  const now = () => ({ lines: state.lines, key: state.key, dismissed: state.dismissed });

  function remember(before = now()) {
    state.past.push(before);
    if (state.past.length > 500) state.past.shift();
    state.future = [];
  }

  function edit(lines, key = state.key, structure = false) {
    remember();
    state.lines = lines;
    state.key = key;
    page.sync(structure);
    page.saveSoon(0);
  }

  function result({ lines, problem }, key) {
    if (problem) note(problem);
    else edit(lines, key, true);
    return !problem;
  }

  function stepBack(from, to) {
    commitTyping();
    if (!from.length) { note(from === state.past ? "nothing to undo" : "nothing to redo"); return; }
    const { lines, key, dismissed, replaced } = from.pop();
    to.push({ ...now(), replaced });
    if (replaced !== undefined) page.replaceAgain(replaced, from === state.future);
    page.writing()?.blur();
    state.lines = lines;
    if (dismissed !== state.dismissed) page.dismiss(dismissed);
    page.sync(true);
    page.select(indexOf(key) < 0 ? lines[0]?.key : key);
    page.saveSoon(0);
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
    page.fillSide(list.rows.get(key), key);
    list.measure(key);
    page.saveSoon(350);
  }

  function commitTyping() {
    if (!typing) return;
    const index = indexOf(typing.key), line = state.lines[index];
    typing = null;
    if (line && line.text !== line.text.trim()) state.lines = model.change(state.lines, index, { text: line.text.trim() });
    page.sync(false);
    page.saveSoon(0);
  }

  let dragged = null;
  function drag(key, start, end, done) {
    const index = indexOf(key);
    const { lines } = model.moved(state.lines, index, start, end, state.seconds);
    if (lines) {
      dragged ??= now();
      state.lines = lines;
      wave.set({ lines });
      list.refresh(key);
    }
    if (!done || !dragged) return;
    remember(dragged);
    dragged = null;
    page.sync(false);
    page.saveSoon(0);
  }

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
    page.leaveText();
    page.select(key);
    return true;
  }

  function accept() {
    const index = current();
    if (index < 0) return;
    const { key } = state;
    if (state.lines[index].flag !== "ok") edit(model.change(state.lines, index, { flag: "ok" }));
    if (step(1) && !audio.paused) page.playLine();
    list.refresh(key);
  }

  function drop() {
    const index = current();
    if (index >= 0) edit(model.change(state.lines, index, { flag: state.lines[index].flag === "drop" ? "" : "drop" }));
  }

  function split() {
    const index = current(), line = state.lines[index];
    if (!line) return;
    let offset = page.caret(), time = null;
    if (offset === null) {
      time = audio.currentTime > line.start && audio.currentTime < line.end ? audio.currentTime : (line.start + line.end) / 2;
      offset = model.offsetAt(line, time, state.words);
    }
    page.leaveText();
    const made = model.split(state.lines, current(), offset, state.words, time);
    if (result(made, made.lines?.[index + 1].key)) page.reveal();
  }

  function merge() {
    page.leaveText();
    result(model.merge(state.lines, current()), state.key);
  }

  const undo = () => stepBack(state.past, state.future), redo = () => stepBack(state.future, state.past);
  const forgetTyping = () => { typing = null; };
  Object.assign(page, { remember, now, edit, typed, commitTyping, forgetTyping, drag, nudge, step, accept, drop, split, merge, undo, redo });
}
