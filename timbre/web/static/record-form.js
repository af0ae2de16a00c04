// Who reads what: the form before the booth. A speaker whose consent is not written down is asked for it.

import { $, ask, make } from "./review-dom.js";

const ABOUT = ["name", "by", "for", "when", "evidence"];

// enter(session) opens the booth, warn(text) says what is wrong
export async function setUpForm(enter, warn) {
  const { wanted, speakers, begun } = await ask("api/booth");
  const known = new Map(speakers.map((one) => [one.id, one]));
  for (const [name, value] of Object.entries(wanted)) if ($(name)) $(name).value = value ?? "";
  $("when").value = new Date(Date.now() - 60000 * new Date().getTimezoneOffset()).toISOString().slice(0, 10);
  $("speakers").append(...speakers.filter((one) => one.allowed).map((one) => {
    const option = make("option", "", one.name);
    option.value = one.id;
    return option;
  }));
  $("begun").hidden = !begun.length;
  for (const id of begun) {
    const button = make("button", "", id);
    button.type = "button";
    button.addEventListener("click", () => resume(id));
    $("begun").append(button);
  }

  async function resume(id) {
    try {
      enter(await ask(`api/booth/${encodeURIComponent(id)}`));
    } catch (error) {
      warn(error.message);
      $("begin").hidden = false;
    }
  }

  function askConsent() {
    const speaker = $("speaker").value.trim(), one = known.get(speaker);
    $("consent").hidden = $("consent").disabled = !speaker || Boolean(one);
    $("allowed").hidden = !one;
    $("allowed").className = one?.allowed === false ? "refused" : "soft";
    if (one) $("allowed").textContent = one.allowed ? `${one.name}: ${one.consent.by} consented on ${one.consent.when}, for ${one.consent.use}.` : `${one.name} took the consent back on ${one.consent.revoked}; nothing may be recorded.`;
  }

  $("speaker").addEventListener("input", askConsent);
  $("begin").addEventListener("submit", async (event) => {
    event.preventDefault();
    const value = (name) => $(name).value.trim();
    const consent = $("consent").disabled ? null : Object.fromEntries(ABOUT.map((name) => [name, value(name)]));
    try {
      enter(await ask(`api/booth/${encodeURIComponent(value("id"))}`, { speaker: value("speaker"), language: value("language"), licence: value("licence"), sentences: $("sentences").value, consent }));
      warn("");
    } catch (error) {
      warn(error.message);
    }
  });
  askConsent();
  const asked = location.hash.slice(1);
  if (begun.includes(asked)) await resume(asked);
  else $("begin").hidden = false;
  document.body.dataset.ready ??= "form";
}
