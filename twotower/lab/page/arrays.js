// An array as a table: its rows by user and group, every number as it is, and what the mask changes marked.

/** How many axes nested lists have. */
function depthOf(values) {
  return Array.isArray(values) ? 1 + (values.length ? depthOf(values[0]) : 0) : 0;
}

/** Names of rows, or indices; the same name again counts on, so that pairs of one user stay apart. */
function rowKeys(step) {
  const seen = new Map();
  const names = step.pairs ?? step.rows ?? (Array.isArray(step.values) ? step.values.map((_, i) => i) : [null]);
  return names.map((name) => {
    seen.set(name, (seen.get(name) ?? 0) + 1);
    return `${name} ${seen.get(name)}`;
  });
}

/** For every row of a step the same row of its counterpart in the other run, or undefined. */
function counterpartRows(step, other) {
  if (!other) return [];
  const theirs = new Map(rowKeys(other).map((key, i) => [key, depthOf(other.values) ? other.values[i] : other.values]));
  return rowKeys(step).map((key) => theirs.get(key));
}

/** Nested lists as one flat list. */
function flat(values) {
  return Array.isArray(values) ? values.flat(Infinity) : [values];
}

/** How many numbers of a step differ from the other run, where a row that is not there differs as a whole; and how many
 * numbers the other run has more. */
function differences(step, other) {
  const rows = depthOf(step.values) ? step.values : [step.values];
  const theirs = counterpartRows(step, other);
  const count = (row, i) =>
    flat(row).filter((value, j) => theirs[i] === undefined || flat(theirs[i])[j] !== value).length;
  const all = flat(rows).length;
  return {
    all,
    differ: rows.reduce((sum, row, i) => sum + count(row, i), 0),
    more: Math.max(other ? flat(other.values).length - all : 0, 0),
  };
}

/** The step's numbers: one table, or one for each index of the first axis where there are three. */
function arrayTables(step, other, look) {
  const { values } = step;
  const depth = depthOf(values);
  const largest = Math.max(...flat(values).filter(isNumber).map(Math.abs), Number.MIN_VALUE);
  look = { ...look, told: mannerOf(values) };
  if (depth < 3) return [arrayTable(step, other, { ...look, largest })];
  return values.map((slice, k) => {
    const part = { ...step, values: slice, rows: null, pairs: null };
    const theirs =
      other && depthOf(other.values) === depth
        ? { ...other, values: other.values[k] ?? [], rows: null, pairs: null }
        : null;
    const table = arrayTable(part, theirs, { ...look, largest });
    table.caption.textContent = `${step.name}[${k}]`;
    table.caption.className = "";
    return table;
  });
}

/** How an array's numbers are written, as in the terminal: whole where all are, with exponents where all are small. */
function mannerOf(values) {
  const numbers = flat(values).filter(isNumber);
  if (numbers.every(Number.isInteger)) return (value) => shown(value);
  const small = Math.max(...numbers.map(Math.abs)) < 1e-3;
  const told = (size) => (small ? exponential(size, 1) : fixed(size, 4));
  return (value) => {
    if (!isNumber(value) || value === 0) return shown(value);
    return `${value < 0 ? "−" : ""}${told(Math.abs(value))}`;
  };
}

function arrayTable(step, other, look) {
  const depth = depthOf(step.values);
  const across = depth === 1 && !step.rows; // a vector without names lies along the page
  const columns = depth === 2 || across;
  const lines =
    depth === 2 ? step.values : depth === 0 || across ? [flat(step.values)] : step.values.map((value) => [value]);
  const theirs = across
    ? [flat(other?.values ?? [])]
    : counterpartRows(step, other).map((row) => (row === undefined ? row : flat(row)));
  const width = columns ? Math.max(...lines.map((line) => line.length), 1) : 1;
  const heads = Array.from({ length: width }, (_, j) =>
    make("th", { scope: "col", class: "tick" }, columns ? String(j) : step.rows ? step.name : "value"),
  );
  const row = (line, i) => {
    const heading = step.rows ? rowHeading(step.rows[i], step.pairs?.[i], look) : depth === 2 ? String(i) : "";
    const cells = line.map((value, j) => numberCell(value, theirs[i]?.[j], Boolean(other), look));
    return make("tr", rowLook(step, i, look), make("th", { scope: "row" }, heading), cells);
  };
  return make(
    "table",
    { class: across ? "array across" : "array" },
    make("caption", { class: "visually-hidden" }, step.name),
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, step.rows ? "pair" : ""), heads)),
    make("tbody", {}, withMasked(step, lines.map(row), width, look)),
  );
}

/** A row's user and title, with the group beneath. */
function rowHeading(user, pair, look) {
  const title = look.pairs[pair]?.title;
  const owner = look.users.get(user)?.group;
  return [
    make("span", {}, title === undefined ? String(user) : `${user} × ${title}`),
    isNumber(owner) ? make("span", { class: "note" }, `${owner} ${look.groups[owner] ?? ""}`) : null,
  ];
}

/** Rows of other groups than the step's are dimmed, or leaks without the mask; rows of unselected groups are dimmed. */
function rowLook(step, i, look) {
  const owner = step.rows ? look.users.get(step.rows[i])?.group : undefined;
  const other = isNumber(owner) && isNumber(step.group) && owner !== step.group;
  const aside = isNumber(owner) && !looksAt(look, step.rows[i]);
  return {
    class: other && look.mask === "off" ? "leaking" : other || aside ? "other" : null,
    "data-row": step.rows ? step.rows[i] : null,
    "data-group": owner,
  };
}

/** Whether a user is of the group, or is the one, that is looked at. */
function looksAt(look, user) {
  return look.row === null ? look.group === null || look.users.get(user)?.group === look.group : user === look.row;
}

/** The norm of a step's numbers, of the rows that are looked at where rows have names. */
function normOf(step, look) {
  const rows = step.rows ? step.values.filter((_, i) => looksAt(look, step.rows[i])) : step.values;
  return Math.hypot(...flat(rows).filter(isNumber));
}

/** The pairs that the mask keeps out of a head stand in their places, without numbers. */
function withMasked(step, rows, width, look) {
  if (!isNumber(step.group) || !step.pairs || step.pairs.length === look.pairs.length) return rows;
  return look.pairs.map((pair, i) => {
    const place = step.pairs.indexOf(i);
    if (place >= 0) return rows[place];
    return make(
      "tr",
      { class: "masked", "data-masked": pair.user },
      make("th", { scope: "row" }, rowHeading(pair.user, i, look)),
      make("td", { colspan: width }, "masked out"),
    );
  });
}

function numberCell(value, theirs, compared, { largest, told }) {
  const differs = compared && theirs !== value;
  const heat = isNumber(value) ? Math.abs(value) / largest : 0;
  const tone = [value === 0 ? "zero" : "", value < 0 ? "minus" : "", differs ? "differs" : ""].join(" ").trim();
  const hint = differs
    ? theirs === undefined
      ? "not there in the other run"
      : `${told(theirs)} in the other run`
    : null;
  const made = cell(told(value), value, { class: tone, style: `--heat:${heat.toFixed(3)}`, title: hint });
  if (differs) made.append(make("span", { class: "visually-hidden" }, ` (${hint})`));
  return made;
}
