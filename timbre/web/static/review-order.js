// Which lines are shown, and in what order.

import { $ } from "./review-dom.js";
import * as model from "./review-model.js";

const FILTERS = ["unsure", "unheard", "differs", "labels", "harm"];
const ORDERS = ["unsure", "labels", "harm"]; // one at a time

export function setUpOrder(page) {
  const { state } = page;

  // A line that is accepted stays in sight of a filter until the filter is set again: nothing vanishes under one's hands.
  let arranged = "";
  function arrange(anew = false) {
    $("labels").parentElement.hidden = !state.labels.length;
    $("harm").parentElement.hidden = !state.harms.length;
    const how = Object.fromEntries(FILTERS.map((id) => [id, $(id).checked && !$(id).parentElement.hidden]));
    const set = Object.values(how).some(Boolean), name = JSON.stringify([state.id, how]);
    const suggested = how.differs ? new Set(state.lines.filter((_, index) => page.suggested(index)).map((line) => line.key)) : null;
    let keys = model.order(state.lines, state.words, { ...how, suggested, table: state.labels, harms: state.harms }).map((line) => line.key);
    if (set && name === arranged && !anew) {
      const there = new Set(state.lines.map((line) => line.key)), shown = new Set(page.list.keys);
      const kept = page.list.keys.filter((key) => there.has(key));
      for (const key of keys.filter((one) => !shown.has(one))) { // beside the line that it was split from
        const above = state.lines[page.indexOf(key) - 1]?.key;
        kept.splice(kept.indexOf(above) + 1 || kept.length, 0, key);
      }
      keys = kept;
    }
    arranged = name;
    page.list.show(keys);
    const filtered = (how.unheard || how.differs) && keys.length !== state.lines.length;
    $("count").textContent = filtered ? `${keys.length} ${keys.length === 1 ? "line" : "lines"}` : "";
  }

  for (const id of FILTERS) {
    $(id).addEventListener("change", () => {
      page.leaveText();
      if (ORDERS.includes(id) && $(id).checked) for (const other of ORDERS) $(other).checked = other === id;
      arrange(true);
      if (!page.list.index.has(state.key) && page.list.keys.length) page.select(page.list.keys[0]);
      else page.reveal();
      $("lines").focus({ preventScroll: true });
    });
  }
  Object.assign(page, { arrange });
}
