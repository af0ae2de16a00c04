// Where one writes: the caret, and what the browser must not do to the text.

import { $ } from "./review-dom.js";

export function setUpText(page) {
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
    page.reveal();
    const text = page.list.rows.get(page.state.key)?.querySelector(".text");
    if (!text) return;
    text.focus();
    getSelection().selectAllChildren(text);
    getSelection().collapseToEnd();
  }

  Object.assign(page, { writing, caret, flatten, leaveText, focusText });
}
