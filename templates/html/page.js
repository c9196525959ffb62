"use strict";
const told = JSON.parse(document.getElementById("told").textContent);
const about = document.getElementById("about");
const boxes = document.getElementById("boxes");
let pinned = null;

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

function show(box) {
  const facts = told[box.dataset.name];
  const table = document.createElement("table");
  const rows = [["buffer", facts.name], ...(facts.line ? [["line", facts.line + " (" + facts.layer + ")"]] : []), ...facts.rows];
  for (const [head, text] of rows) {
    const row = document.createElement("tr");
    row.append(element("th", head), element("td", text));
    table.append(row);
  }
  about.replaceChildren(table);
  for (const on of document.querySelectorAll(".on")) on.classList.remove("on");
  box.classList.add("on");
  const line = document.getElementById("line" + facts.line);
  if (line) line.classList.add("on");
}

boxes.addEventListener("pointerover", (e) => e.target.dataset.name && !pinned && show(e.target));
boxes.addEventListener("focusin", (e) => e.target.dataset.name && show(e.target));
boxes.addEventListener("click", (e) => {
  if (!e.target.dataset.name) return;
  pinned = pinned === e.target ? null : e.target; /* a second click lets go */
  show(e.target);
});
if (boxes.firstElementChild) show(boxes.firstElementChild);
