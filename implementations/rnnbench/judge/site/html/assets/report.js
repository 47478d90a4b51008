"use strict";
// Sorting and filtering of the tables marked "tools". Without it the page is whole all the same.
const shown = (cell) => cell.dataset.sort ?? cell.textContent.trim();
const number = (text) => (/^inf/.test(text) ? Infinity : parseFloat(text.replace(/,/g, "").replace("−", "-")));

function sortBy(table, header, column) {
  const up = header.getAttribute("aria-sort") !== "ascending";
  for (const other of header.parentNode.children) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", up ? "ascending" : "descending");
  const numeric = header.classList.contains("num");
  const rows = [...table.tBodies[0].rows].map((row) => {
    const text = shown(row.cells[column]);
    const key = numeric ? number(text) : text;
    return { row, key, empty: numeric ? Number.isNaN(key) : text === "" || text === "—" };
  });
  const order = (a, b) => (numeric ? a - b || 0 : a.localeCompare(b));
  // What has no figure stays at the end, whichever way the column is sorted.
  rows.sort((a, b) => a.empty - b.empty || (a.empty ? 0 : up ? order(a.key, b.key) : order(b.key, a.key)));
  table.tBodies[0].append(...rows.map(({ row }) => row));
}

function addSorting(table) {
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sortBy(table, header, column));
    header.append(button);
  });
}

function addFilter(table) {
  const rows = [...table.tBodies[0].rows].map((row) => [row, row.textContent.toLowerCase()]);
  if (rows.length < 12) return;
  const bar = document.createElement("p");
  const input = document.createElement("input");
  const count = document.createElement("output");
  bar.className = "filter";
  input.type = "search";
  input.placeholder = "Filter, e.g. gru training";
  input.setAttribute("aria-label", "Filter the rows of the table below");
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    for (const [row, text] of rows) {
      row.hidden = !words.every((word) => text.includes(word));
      left += !row.hidden;
    }
    count.value = words.length ? `${left} of ${rows.length} rows` : "";
  });
  bar.append(input, count);
  // Above the chart beside the table, too: the two begin at the same height.
  (table.closest(".panel") ?? table.parentNode).before(bar);
}

for (const table of document.querySelectorAll("table.tools")) {
  addSorting(table);
  addFilter(table);
}
