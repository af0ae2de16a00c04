// Where a newer draft heard other words than the transcript has: shown below the line, taken or dismissed by a key.
// What was dismissed is remembered for that draft; the next one may say it again.

import { $, ask, make, note } from "./review-dom.js";
import * as model from "./review-model.js";
import { suggestion } from "./review-alignment.js";

export function setUpSuggestions(page) {
  const { state } = page;

  // {text, pieces: [[unchanged, gone, come], …], name}, or nothing
  function suggested(index) {
    const line = state.lines[index];
    if (!state.newer || !line || line.flag === "drop") return null;
    const found = suggestion(line, state.lines[index - 1], state.lines[index + 1], state.words);
    return found && !state.dismissed.includes(found.name) ? found : null;
  }

  function fillSuggestion(element, index) {
    const found = suggested(index);
    element.hidden = !found;
    if (!found) { element.replaceChildren(); return; }
    const words = make("span", "words");
    for (const [same, gone, come] of found.pieces) {
      words.append(same);
      if (gone) words.append(make("del", "", gone));
      if (come) words.append(make("ins", "", come));
    }
    const key = state.lines[index].key;
    const button = (name, sign, does) => {
      const made = make("button", "", name);
      made.type = "button";
      made.tabIndex = -1;
      made.append(make("kbd", "", sign));
      made.addEventListener("click", () => { page.select(key, false); does(); });
      return made;
    };
    element.replaceChildren(make("span", "soft", "newer draft"), words, button("Take", "Y", takeSuggestion), button("Dismiss", "N", dismissSuggestion));
  }

  function takeSuggestion() {
    page.leaveText();
    const index = page.current(), found = suggested(index);
    if (!found) { note("no newer draft disagrees with this line"); return; }
    page.edit(model.change(state.lines, index, { text: found.text }));
    goOn();
  }

  function dismissSuggestion() {
    page.leaveText();
    const found = suggested(page.current());
    if (!found) { note("no newer draft disagrees with this line"); return; }
    page.remember();
    dismiss([...state.dismissed, found.name]);
    page.sync(false);
    goOn();
  }

  const goOn = () => { if ($("differs").checked) page.step(1); };

  let sending = Promise.resolve();
  function dismiss(names) {
    state.dismissed = names;
    const { id, draft } = state;
    sending = sending.then(() => ask(`api/dismissed/${id}`, { draft, names })).catch((error) => note(`not remembered: ${error.message}`));
  }

  function tellSuggestions() {
    const box = $("differs").parentElement;
    const count = state.newer ? state.lines.reduce((sum, _, index) => sum + (suggested(index) ? 1 : 0), 0) : 0;
    box.hidden = !count && !$("differs").checked;
    $("differing").textContent = count === 1 ? "1 line differs in a newer draft" : `${count} lines differ in a newer draft`;
  }

  Object.assign(page, { suggested, fillSuggestion, takeSuggestion, dismissSuggestion, dismiss, tellSuggestions });
}
