"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);

/* By name, what draws a figure without plots: draw(holder, content), and numbers(content) for its CSV file. */
const SCRIPTS = {};

const waiting = [];
for (const holder of document.querySelectorAll(".plots")) {
  const plots = DATA.figures[holder.dataset.figure].plots;
  [...holder.children].forEach((div, i) => waiting.push([div, plots[i]]));
}

/* On paper a plot is scaled to the paper's column: for that its drawing has to say what it spans. */
function spanning(div) {
  const box = div.querySelector(".svg-container"), { width, height } = div._fullLayout;
  box.style.aspectRatio = `${width} / ${height}`;
  for (const svg of box.querySelectorAll(".main-svg")) svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
}

/* One after the other, so that the page can be read meanwhile. */
function drawNext() {
  const next = waiting.shift();
  if (!next) {
    document.documentElement.dataset.drawn = "all";
    return;
  }
  const [div, plot] = next;
  const layout = { ...plot.layout, template: DATA.theme, autosize: true };
  Plotly.newPlot(div, plot.data, layout, { displayModeBar: false, responsive: true });
  spanning(div);
  div.on("plotly_afterplot", () => spanning(div));
  setTimeout(drawNext, 0);
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
  for (const holder of document.querySelectorAll("[data-script]")) {
    SCRIPTS[holder.dataset.script].draw(holder, DATA.figures[holder.closest("figure").id]);
  }
  drawNext();
}
