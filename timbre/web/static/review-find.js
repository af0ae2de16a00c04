// Find and replace over the transcripts of all recordings: what would change is shown first, and only that is changed.

import { $, ask, make, note } from "./review-dom.js";

export function setUpFind(page) {
  const { state, settled, remember, now, take, listRecordings, writing } = page;
  let preview = null, replacing = false;
  function openFind() {
    const chosen = String(getSelection()).trim();
    if (chosen && writing() && !chosen.includes("\n")) $("old").value = chosen;
    $("find").showModal();
    $("old").select();
    search();
    offer();
  }

  // Words that are nearly a term of the glossary: what `timbre replace --glossary` lists.
  async function offer() {
    const offers = await ask("api/offers").catch(() => []);
    $("offers").hidden = !offers.length;
    $("offers").replaceChildren("Nearly a term of the glossary: ", ...offers.slice(0, 12).map(({ written, term, places }) => {
      const button = make("button", "", `${written} → ${term}`);
      button.type = "button";
      button.title = `${places} ${places === 1 ? "place" : "places"}`;
      button.addEventListener("click", () => { [$("old").value, $("new").value] = [written, term]; search(); });
      return button;
    }));
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
    replacing = true; // what changes on disk now is no other editor's work
    try {
      const { places, number } = await ask("api/replace", preview);
      remember({ ...now(), replaced: number });
      take(await ask(`api/recording/${state.id}`));
      $("find").close();
      listRecordings();
      note(`${places} ${places === 1 ? "place" : "places"} replaced; Z takes them back, git diff shows them`);
    } catch (error) {
      await search();
      $("found").textContent = error.message;
    } finally {
      replacing = false;
    }
  });

  // A step back over a replacement, or forth: the open recording's lines are the page's, the others are files.
  async function replaceAgain(number, redo) {
    try {
      const { changed_since: left } = await ask(`api/replace/${number}`, { redo, open: state.id });
      if (left.length) note(`${left.join(", ")}: edited since then; left as it is`);
      listRecordings();
    } catch (error) {
      note(`The other recordings stay as they are: ${error.message}`);
    }
  }
  for (const id of ["old", "new", "case"]) $(id).addEventListener("input", searchSoon);
  $("find").addEventListener("keydown", (event) => { if (event.key === "Enter" && event.target.tagName === "INPUT") search(); });
  $("close-find").addEventListener("click", () => $("find").close());
  $("open-find").addEventListener("click", openFind);
  Object.assign(page, { openFind, replaceAgain, replacing: () => replacing });
}
