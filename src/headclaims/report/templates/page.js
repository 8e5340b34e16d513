"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);

/* By name, what draws a figure without plots: draw(holder, content), and numbers(content) for its CSV file. */
const SCRIPTS = {};
const root = document.documentElement;

/* By element, what draws it: all that is not drawn yet. */
const undrawn = new Map();

/* On paper a plot is scaled to the paper's column: for that its drawing has to say what it spans. */
function spanning(div) {
  const box = div.querySelector(".svg-container"), { width, height } = div._fullLayout;
  box.style.aspectRatio = `${width} / ${height}`;
  for (const svg of box.querySelectorAll(".main-svg")) svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
}

function drawPlot(div, plot) {
  const layout = { ...plot.layout, template: DATA.theme, autosize: true };
  Plotly.newPlot(div, plot.data, layout, { displayModeBar: false, responsive: true });
  spanning(div);
  div.on("plotly_afterplot", () => spanning(div));
}

function draw(element) {
  const how = undrawn.get(element);
  undrawn.delete(element);
  if (how) how();
}

const isShown = (element) => !element.closest("details:not([open]), [hidden]");

/* What can be seen is drawn, one after the other, so that the page can be read meanwhile. */
let drawing = false;
function drawNext() {
  const next = [...undrawn.keys()].find(isShown);
  if (next) {
    draw(next);
    setTimeout(drawNext, 0);
  } else {
    drawing = false;
    root.dataset.drawn = "all";
  }
}
function drawShown() {
  if (drawing) return;
  drawing = true;
  delete root.dataset.drawn;
  drawNext();
}

const tabs = [...document.querySelectorAll('[role="tab"]')];
function showTab(tab, focus = false) {
  for (const one of tabs) {
    const chosen = one === tab;
    one.setAttribute("aria-selected", String(chosen));
    one.tabIndex = chosen ? 0 : -1;
    document.getElementById(one.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (focus) tab.focus();
  drawShown();
}
for (const tab of tabs) {
  tab.addEventListener("click", () => showTab(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) showTab(tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length], true);
  });
}

/* Whatever hides an element is opened; of a claim all that is folded. */
function reveal(element) {
  const panel = element.closest('[role="tabpanel"]');
  if (panel) showTab(document.getElementById(panel.getAttribute("aria-labelledby")));
  for (let at = element.closest("details"); at; at = at.parentElement.closest("details")) at.open = true;
  if (element.matches(".claim")) element.querySelector("details.more").open = true;
  drawShown();
  element.scrollIntoView();
}

function follow() {
  const hash = location.hash.slice(1), token = new URLSearchParams(hash).get("token");
  const element = hash && document.getElementById(hash);
  if (element) reveal(element);
  else if (token !== null) {
    const maps = [...document.querySelectorAll('[data-script="token-map"]')];
    if (!maps.length) return;
    showTab(document.getElementById("tab-map"));
    maps.forEach(draw);
    (maps.find((map) => map.hasToken(token)) || maps[0]).chooseToken(token);
  }
}
addEventListener("hashchange", follow);
/* A link to where the page is already has to open it again. */
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#"]');
  if (link && link.getAttribute("href") === location.hash) follow();
});

/* On paper nothing is folded, whatever is on the screen. */
let unfolded = [];
function unfold() {
  for (const one of document.querySelectorAll("main details:not([open])")) {
    one.open = true;
    unfolded.push(() => { one.open = false; });
  }
  for (const panel of document.querySelectorAll('[role="tabpanel"][hidden]')) {
    panel.hidden = false;
    unfolded.push(() => { panel.hidden = true; });
  }
  [...undrawn.keys()].forEach(draw);
}
function foldAgain() {
  for (const back of unfolded) back();
  unfolded = [];
}
addEventListener("beforeprint", unfold);
addEventListener("afterprint", foldAgain);
matchMedia("print").addEventListener("change", (media) => (media.matches ? unfold() : foldAgain()));

/* The contents stand beside a wide page, and fold on a narrow one. */
const contents = document.querySelector(".contents details"), wide = matchMedia("(min-width: 64rem)");
if (contents) {
  const fold = () => { contents.open = wide.matches; };
  fold();
  wide.addEventListener("change", fold);
  contents.addEventListener("click", (event) => {
    if (event.target.closest("a") && !wide.matches) contents.open = false;
  });
}

function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  /* A spreadsheet takes a text that begins so for a formula. */
  const text = /^[=+\-@\t\r]/.test(value) ? "'" + value : value;
  return /[",\n\r']/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
}

function numbers(name) {
  const holder = document.getElementById(name).querySelector("[data-script]"), content = DATA.figures[name];
  return holder ? SCRIPTS[holder.dataset.script].numbers(content) : content;
}

function download(name) {
  const { columns, rows } = numbers(name);
  const text = [columns, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = name + ".csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

for (const button of document.querySelectorAll("button.numbers")) {
  button.addEventListener("click", () => download(button.dataset.figure));
}

function start() {
  for (const holder of document.querySelectorAll(".plots")) {
    const plots = DATA.figures[holder.dataset.figure].plots;
    [...holder.children].forEach((div, i) => undrawn.set(div, () => drawPlot(div, plots[i])));
  }
  for (const holder of document.querySelectorAll("[data-script]")) {
    const content = DATA.figures[holder.closest("figure").id];
    undrawn.set(holder, () => SCRIPTS[holder.dataset.script].draw(holder, content));
  }
  document.addEventListener("toggle", drawShown, true);
  drawShown();
  if (location.hash) follow();
}
