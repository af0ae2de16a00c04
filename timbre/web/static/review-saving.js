// Saving: at once, one save after the other, and only over what this page has read. Where the file is another by now the
// page shows both versions.

import { $, ask, make, note } from "./review-dom.js";
import * as model from "./review-model.js";

export function setUpSaving(page) {
  const { state, take, remember, commitTyping, warned } = page;
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
    if (!state.id || !state.seconds || saving || conflict || page.replacing() || document.hidden) return;
    const { id } = state;
    const { digest } = await ask(`api/digest/${id}`).catch(() => ({ digest: state.digest }));
    if (state.id !== id || digest === state.digest || saving || conflict || page.replacing()) return;
    if (unsaved()) { save(); return; }
    try {
      const opened = await ask(`api/recording/${id}`);
      if (unsaved() || state.id !== id || opened.digest === state.digest || page.replacing()) return;
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

  addEventListener("beforeunload", (event) => {
    commitTyping();
    if (!unsaved()) return;
    save();
    event.preventDefault();
  });
  addEventListener("focus", look);
  setInterval(look, 2000);
  Object.assign(page, { save, saveSoon, settled, tellSaved });
}
