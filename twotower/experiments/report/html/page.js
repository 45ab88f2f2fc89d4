"use strict";

// Tables that sort: headings become buttons, aria-sort says how, undefined cells stay last either way.
{
  const announcer = document.getElementById("announcer");

  function valueOf(row, index, kind) {
    const value = row.cells[index].dataset.value;
    return value === undefined ? null : kind === "number" ? Number(value) : value;
  }

  function compare(a, b, sign) {
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
  }

  function sortBy(heading) {
    const table = heading.closest("table");
    const kind = heading.dataset.sort;
    const first = kind === "number" ? "descending" : "ascending";
    const other = first === "descending" ? "ascending" : "descending";
    const direction = heading.getAttribute("aria-sort") === first ? other : first;
    const sign = direction === "ascending" ? 1 : -1;
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row, place) => ({ row, place, value: valueOf(row, heading.cellIndex, kind) }));
    rows.sort((a, b) => compare(a.value, b.value, sign) || a.place - b.place);
    body.append(...rows.map((item) => item.row));
    for (const cell of heading.parentElement.cells) cell.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", direction);
    announcer.textContent = `Sorted by ${heading.textContent}, ${direction}`;
  }

  for (const heading of document.querySelectorAll("table.sortable thead th")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sortBy(heading));
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
  }
}

// Words stand on the left and may wrap, numbers on the right.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  for (const row of [...table.tBodies[0].rows, ...(table.tFoot?.rows ?? [])]) {
    heads.forEach((head, i) => {
      if (head.dataset.sort !== "text") return;
      row.cells[i].classList.add("words");
      row.cells[i].classList.toggle("long", row.cells[i].textContent.length > 28);
    });
  }
}

// Minor territories are folded away until they are asked for; without this script all are shown.
for (const table of document.querySelectorAll("table.sortable")) {
  const minor = table.querySelectorAll("tr.minor").length;
  if (!minor) continue;
  const label = document.createElement("label");
  const box = document.createElement("input");
  box.type = "checkbox";
  box.setAttribute("aria-controls", table.id);
  box.addEventListener("change", () => table.classList.toggle("only-major", !box.checked));
  label.className = "check folding";
  label.append(box, ` Show the ${minor} minor territories as well`);
  table.classList.add("only-major");
  table.parentElement.before(label);
}

// Whoever prints wants what is folded, too.
window.addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
