// Elements and numbers as text. What comes from the record is set as text or attribute, never as markup.
const SVG = "http://www.w3.org/2000/svg";
const DASH = "–";

/** An element with attributes (null leaves one out) and children, which are elements or texts. */
function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for the elements of a drawing. */
function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null));
  return element;
}

function byId(id) {
  return document.getElementById(id);
}

function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

/** A size that is rounded to so many digits as in the terminal: a tie goes to the even digit, not always up. */
function rounded(size, digits) {
  const [mantissa, exponent] = size.toExponential(100).split("e"); // the number exactly, wherever it can be a tie
  const all = mantissa.replace(".", "");
  const isTie = digits > 0 && /^50*$/.test(all.slice(digits)) && all[digits - 1] % 2 === 0;
  return isTie ? Number(`${all.slice(0, digits)}e${exponent - digits + 1}`) : size;
}

/** A number with so many decimals. */
function fixed(value, decimals) {
  const size = Math.abs(value);
  const whole = size === 0 ? 0 : Number(size.toExponential(100).split("e")[1]) + 1;
  const text = rounded(size, whole + decimals).toFixed(decimals);
  return value < 0 || Object.is(value, -0) ? `−${text}` : text;
}

/** A size as a mantissa and an exponent of at least two digits, as in the terminal. */
function exponential(size, decimals) {
  const [mantissa, exponent] = rounded(size, decimals + 1)
    .toExponential(decimals)
    .split("e");
  return `${mantissa}e${exponent < 0 ? "−" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

/** A number to read: digits that count, an exponent where it is very small. Only 0 itself reads "0". */
function shown(value, digits = 3) {
  if (!isNumber(value)) return DASH;
  if (value === 0) return "0";
  const size = Math.abs(value);
  const near = rounded(size, digits);
  const seen = Number(near.toPrecision(digits));
  let text = near.toPrecision(digits);
  if (Number.isInteger(value) && size < 1000) text = String(size);
  else if (seen >= 1000) text = Math.round(size).toLocaleString("en");
  else if (seen < 1e-4) text = exponential(size, digits - 1);
  return value < 0 ? `−${text}` : text;
}

/** The same in a sentence: a power of ten in place of an exponent. */
function inWords(value, digits = 3) {
  const raise = (power) => [...String(power)].map((sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)]).join("");
  return shown(value, digits).replace(/e([−+])(\d+)$/, (_, sign, power) => {
    return `\u00a0×\u00a010${raise(sign === "−" ? -power : Number(power))}`;
  });
}

function percent(share) {
  if (!isNumber(share)) return DASH;
  if (share === 0) return "0 %";
  return `${Math.abs(share) < 5e-4 ? shown(100 * share, 2) : fixed(100 * share, 1)} %`;
}

function counted(value) {
  return isNumber(value) ? value.toLocaleString("en") : DASH;
}

/** A cell of a table: a text, and the number itself beside it for whoever reads the page by program. */
function cell(text, value, attributes = {}) {
  return make("td", { "data-value": isNumber(value) ? value : null, ...attributes }, text);
}

/** A table's head and body, set anew. Headings of columns are texts or elements; each row starts with its heading. */
function setTable(table, caption, headings, rows) {
  const wordy = (j) => j > 0 && rows.length > 0 && rows.every((row) => row[j]?.classList?.contains("words"));
  const heads = headings.map((heading, j) => make("th", { scope: "col", class: wordy(j) ? "words" : null }, heading));
  const lines = rows.map(([heading, ...cells]) => make("tr", {}, make("th", { scope: "row" }, heading), cells));
  table.replaceChildren(
    make("caption", { class: "visually-hidden" }, caption),
    make("thead", {}, make("tr", {}, heads)),
    make("tbody", {}, lines),
  );
}

/** The heading of a group's column: its number and its name, which `nameWhereRoom` leaves out where it does not fit. */
function groupHeading(k, name, before = "") {
  const hint = `group ${k}: ${name}`;
  return make("span", { title: hint }, `${before}${k}`, make("span", { class: "group-name" }, ` ${name}`));
}

/** Groups' columns that do not fit their table's region keep their numbers alone, and a legend says which is which,
 * unless the rows do. */
function nameWhereRoom(table, names, rowsDo = false) {
  const region = table.closest(".scroll");
  const last = [...table.querySelectorAll("thead .group-name")].at(-1)?.closest("th");
  if (!last) return;
  const legend = make("p", { class: "quiet legend", hidden: "" }, "Groups: ");
  legend.append(
    ...names.flatMap((name, k) => [
      make("span", {}, make("b", {}, String(k)), ` ${name}${k + 1 < names.length ? " ·" : ""}`),
      " ",
    ]),
  );
  if (!rowsDo) region.after(legend);
  const fits = () => last.offsetLeft + last.offsetWidth <= region.clientWidth;
  const fit = () => {
    table.classList.remove("numbered", "tight");
    if (!fits()) table.classList.add("numbered");
    if (!fits()) table.classList.add("tight");
    legend.hidden = !table.classList.contains("numbered");
  };
  const watch = new ResizeObserver(() => requestAnimationFrame(fit)); // of the table too: letters may grow
  watch.observe(region);
  watch.observe(table);
}

/** One tab stop for a set of buttons: arrow keys, Home and End go from one to the next. `next` may know better. */
function rove(items, next = (place, key) => place + (STEPS[key] ?? NaN)) {
  const stop = (chosen) => items.forEach((item) => item.setAttribute("tabindex", item === chosen ? "0" : "-1"));
  stop(items.find((item) => item.getAttribute("tabindex") === "0") ?? items[0]);
  items.forEach((item, place) => {
    item.addEventListener("focus", () => stop(item));
    item.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const target = { Home: 0, End: items.length - 1 }[event.key] ?? next(place, event.key);
      if (!items[target]) return;
      event.preventDefault();
      event.stopPropagation();
      items[target].focus();
    });
  });
}
const STEPS = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
