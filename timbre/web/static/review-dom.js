// What every part of the review page uses: elements, questions to the server, and the line of notes.

export const $ = (id) => document.getElementById(id);
export const make = (tag, name = "", text = "") => {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text) element.textContent = text;
  return element;
};

export async function ask(path, body) {
  const how = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, how);
  const value = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(value.error), { status: answer.status, value });
  return value;
}

let noted = 0;
export function note(text) {
  $("note").textContent = text;
  $("note").classList.add("seen");
  clearTimeout(noted);
  noted = setTimeout(() => $("note").classList.remove("seen"), 3500);
}
