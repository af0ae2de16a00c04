// A line as one sees it: its time, its words coloured where Whisper was unsure, warnings, a suggestion, its flags.

import { $, make } from "./review-dom.js";
import * as model from "./review-model.js";

export function setUpRows(page) {
  const { state } = page;
  const warned = (line, index) => model.warnings(line, state.lines[index - 1], state.words, state);

  function makeRow(key) {
    const row = make("article", "row");
    row.dataset.key = key;
    const play = make("button", "times");
    play.type = "button";
    play.tabIndex = -1;
    play.addEventListener("click", () => { page.select(key, false); page.playLine(); });
    const text = make("div", "text");
    text.contentEditable = "plaintext-only";
    text.spellcheck = true;
    text.setAttribute("role", "textbox");
    text.addEventListener("focus", () => { if (state.key !== key) page.select(key, false); });
    text.addEventListener("beforeinput", () => page.flatten(text));
    text.addEventListener("input", () => page.typed(key, text.textContent));
    text.addEventListener("blur", () => { page.commitTyping(); page.list.refresh(key); });
    row.append(play, text, make("div", "side"), make("p", "suggestion"));
    row.addEventListener("click", (event) => {
      if (state.key !== key) page.select(key, false);
      if (!event.target.closest(".text")) $("lines").focus({ preventScroll: true });
    });
    return row;
  }

  function fillRow(row, key) {
    const index = page.indexOf(key), line = state.lines[index];
    if (!line) return;
    const [play, text] = row.children;
    row.classList.toggle("chosen", key === state.key);
    row.dataset.flag = line.flag;
    play.textContent = model.clock(line.start);
    play.setAttribute("aria-label", `Play line ${index + 1}, at ${model.clock(line.start)}`);
    text.setAttribute("aria-label", `Words of line ${index + 1}`);
    if (document.activeElement !== text) fillText(text, line);
    fillSide(row, key);
    page.fillSuggestion(row.lastElementChild, index);
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
    const index = page.indexOf(key), line = state.lines[index], side = row.children[2];
    const found = warned(line, index).map(({ text, blocks }) => make("span", blocks ? "chip poor" : "chip fair", text));
    const label = model.worstLabel(line, state.labels);
    if (label) {
      const off = label.numbers ? `number ${label.numbers}` : `label ${Math.round(100 * label.cer)} % off`;
      const chip = make("span", "chip fair", off);
      chip.title = `Whisper hears: ${label.heard}`;
      found.push(chip);
    }
    const harm = model.worstHarm(line, state.harms);
    if (harm?.harm >= 1) {
      const chip = make("span", "chip fair", `harm ${harm.harm.toFixed(1)}: ${harm.advice}`);
      chip.title = harm.why;
      found.push(chip);
    }
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
        const at = page.indexOf(key);
        page.edit(model.change(state.lines, at, { flag: state.lines[at].flag === flag ? "" : flag }), key);
      });
      flags.append(button);
    }
    side.replaceChildren(...found, flags);
  }

  Object.assign(page, { warned, makeRow, fillRow, fillSide });
}
