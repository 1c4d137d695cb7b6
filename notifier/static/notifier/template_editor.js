// Shows what the template says while somebody writes: asked of the server, a moment after the last key.
const form = document.getElementById("editor");
const source = document.getElementById("source");
const lines = document.getElementById("lines");
const problems = document.getElementById("problems");
const preview = document.getElementById("preview");
const difference = document.getElementById("difference");
const state = document.getElementById("state");
const PAUSE = 350;
let timer;
let asked;
let written = source.value;

const make = (tag, className, text) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
};

function numberLines(wrong = new Set()) {
  const count = source.value.split("\n").length;
  lines.replaceChildren(...Array.from({ length: count }, (_, at) => {
    const number = make("span", wrong.has(at + 1) ? "wrong" : "", `${wrong.has(at + 1) ? "!" : ""}${at + 1}\n`);
    return number;
  }));
  lines.scrollTop = source.scrollTop;
}

function goTo(line) {
  const before = source.value.split("\n").slice(0, line - 1).join("\n");
  const start = before.length + (line > 1 ? 1 : 0);
  source.focus();
  source.setSelectionRange(start, start + source.value.split("\n")[line - 1].length);
  source.scrollTop = Math.max(0, (line - 5) * 20);
}

function showProblems(found, fit) {
  numberLines(new Set(found.filter((one) => one.error).map((one) => one.line)));
  const list = make("ul");
  for (const one of found) {
    const item = make("li", one.error ? "" : "hint");
    if (one.line) {
      const button = make("button", "", `Line ${one.line}`);
      button.type = "button";
      button.addEventListener("click", () => goTo(one.line));
      item.append(button, " ");
    }
    item.append(one.error ? one.text : `Hint: ${one.text}`);
    list.append(item);
  }
  problems.replaceChildren(...(found.length ? [list] : []), ...(fit ? [make("p", "fit", "Nothing stands in the way of saving.")] : []));
}

function frame(title, html, className) {
  const figure = make("figure", className);
  const shown = document.createElement("iframe");
  shown.setAttribute("sandbox", "");
  shown.title = title;
  shown.srcdoc = html;
  figure.append(make("figcaption", "", title), shown);
  return figure;
}

function showMessage(message) {
  if (!message) {
    state.textContent = "Shown as it was before the error.";
    return;
  }
  state.textContent = "";
  const pieces = [];
  if (message.facts) {
    const facts = make("ul", "template-facts");
    facts.append(...message.facts.map((fact, at) => make("li", at ? "" : "font-semibold text-important", fact)));
    pieces.push(facts);
  }
  const texts = Object.entries(message.texts).map(([name, text]) => {
    const part = make("div");
    part.append(make("p", "template-part", name), make("pre", "template-text bg-base-50 dark:bg-base-800", text));
    return part;
  });
  if (!message.light) {
    preview.replaceChildren(...pieces, ...texts);
    return;
  }
  const frames = make("div", "template-frames");
  frames.append(
    frame("On a desktop", message.light, "desktop"),
    frame("On a phone", message.light, "phone"),
    frame("On a desktop, dark", message.dark, "desktop"),
    frame("On a phone, dark", message.dark, "phone"),
  );
  preview.replaceChildren(...pieces, texts[0], frames, ...texts.slice(1));
}

function showDifference(rows) {
  if (!rows) return;
  if (!rows.length) {
    difference.replaceChildren(make("p", "", "They are the same."));
    return;
  }
  const table = make("table");
  for (const row of rows) {
    const line = make("tr", { "-": "removed", "+": "added" }[row.sign]);
    line.append(make("td", "number", row.old), make("td", "number", row.new), make("td", "", row.sign), make("td", "text", row.text));
    table.append(line);
  }
  difference.replaceChildren(table);
}

async function look() {
  asked?.abort();
  asked = new AbortController();
  try {
    const answer = await fetch(form.dataset.preview, { method: "POST", body: new FormData(form), signal: asked.signal });
    if (!answer.ok) throw new Error(String(answer.status));
    const found = await answer.json();
    showProblems(found.problems, found.fit);
    showMessage(found.message);
    showDifference(found.difference);
    form.dataset.shown = source.value;
  } catch (error) {
    if (error.name !== "AbortError") state.textContent = "The preview could not be loaded. It is tried again with the next change.";
  }
}

function lookSoon() {
  clearTimeout(timer);
  timer = setTimeout(look, PAUSE);
}

source.addEventListener("input", () => { numberLines(); lookSoon(); });
source.addEventListener("scroll", () => { lines.scrollTop = source.scrollTop; });
form.querySelectorAll("select").forEach((select) => select.addEventListener("change", look));
document.querySelectorAll("form").forEach((one) => one.addEventListener("submit", () => { written = source.value; }));
window.addEventListener("beforeunload", (event) => { if (source.value !== written) event.preventDefault(); });
numberLines();
look();
