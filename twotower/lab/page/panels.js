// The tables beneath: one row, agreement between groups, leaks, dead units, the batch itself.

const MANY = 6; // from more groups on their tables are given more room
const AGAINST = -0.1; // cosine from which on groups pull against each other, as in the terminal's table

function showPanels(record) {
  const { groups, conflict, leak, dead } = record;
  const names = groups.map((group) => group.name);
  const place = (id, rows) => {
    byId(id).hidden = !rows?.length;
  };
  place("summary", record.summary);
  byId("sentences").replaceChildren(...(record.summary ?? []).map((sentence) => make("li", {}, String(sentence))));
  place("conflict", groups.length > 1 ? conflict?.cosine : null);
  place("leaks", leak);
  place("dead", dead);
  if (conflict?.cosine?.length) showConflict(conflict, names);
  if (leak?.length) showLeaks(leak, names);
  if (dead?.length) showDead(dead, names);
  for (const id of ["conflict-table", "leak-table", "dead-table"])
    nameWhereRoom(byId(id), names, id === "conflict-table");
  explainDashes(groups);
  document.body.classList.toggle("many", names.length > MANY);
  setTable(
    byId("batch-table"),
    "Groups of the batch",
    ["group", "pairs", "users", "positives", "base rate", "loss"],
    groups.map((group, k) => [
      `${k} ${group.name}`,
      ...[group.pairs, group.users, group.positives].map((n) => cell(counted(n), n)),
      cell(percent(group.base_rate), group.base_rate),
      cell(shown(group.loss), group.loss),
    ]),
  );
}

function showConflict({ cosine, norm }, names) {
  setTable(
    byId("conflict-table"),
    "Cosines between groups’ gradients, and the norm of each",
    ["group", ...names.map((name, k) => groupHeading(k, name)), "norm"],
    cosine.map((line, i) => [
      `${i} ${names[i]}`,
      ...line.map((value) =>
        cell(isNumber(value) ? fixed(value, 2) : DASH, value, {
          class: `heat ${value <= AGAINST ? "negative" : ""}`,
          style: `--heat:${Math.abs(value ?? 0).toFixed(3)}`,
        }),
      ),
      cell(shown(norm?.[i]), norm?.[i]),
    ]),
  );
}

function showLeaks(leak, names) {
  const parts = Object.keys(leak[0].parts ?? {});
  const lines = parts.length
    ? parts.flatMap((part) => leak.map(({ head, parts: told }) => ({ ...told[part], head, part })))
    : leak.map((line) => ({ ...line, part: "head" }));
  setTable(
    byId("leak-table"),
    "Gradient of what each group has to itself without the mask",
    ["to", "its own rows", "other groups’ rows", "others\u00a0∕ own", ...names.map((name, k) => groupHeading(k, name, "from "))],
    lines.map((line) => {
      const times = line.own ? line.others / line.own : null;
      const from = names.map((name, k) => {
        const value = line.by_group?.[k];
        return cell(shown(value), value, { class: k === line.head ? "" : value ? "leak-ink" : "" });
      });
      return [
        `${line.part} ${line.head}`,
        cell(shown(line.own), line.own),
        cell(shown(line.others), line.others, { class: line.others ? "leak-ink" : "" }),
        cell(isNumber(times) ? `${shown(times, 2)} ×` : DASH, times),
        ...from,
      ];
    }),
  );
}

function showDead(dead, names) {
  const some = dead.some((line) => Array.isArray(line.by_group));
  setTable(
    byId("dead-table"),
    "Units that are 0 for all rows",
    ["layer", "units", "dead", ...(some ? names.map((name, k) => groupHeading(k, name)) : [])],
    dead.map((line) => {
      const heading = line.head === undefined || line.head === null ? line.layer : `${line.layer}`;
      if (!isNumber(line.dead))
        return [
          heading,
          cell(counted(line.units), line.units),
          make("td", { class: "words quiet", colspan: some ? names.length + 1 : 1 }, "linear: none can die"),
        ];
      const count = (k) => (line.by_group ? counted(line.by_group[k]) : ""); // titles belong to no group
      const within = some ? names.map((name, k) => cell(count(k), line.by_group?.[k])) : [];
      return [heading, cell(counted(line.units), line.units), cell(counted(line.dead), line.dead), ...within];
    }),
  );
}

/** What a dash means in tables by group, where a group has no rows. */
function explainDashes(groups) {
  if (groups.every((group) => group.pairs > 0)) return;
  for (const id of ["conflict", "dead", "batch"])
    byId(id).append(make("p", { class: "quiet legend dash" }, `${DASH}: no rows of this group in the batch`));
}

/** The list of rows to pick from, by group. */
function fillRows(list, record) {
  list.append(make("option", { value: "" }, "– none –"));
  record.groups.forEach((group, k) => {
    const rows = (record.rows ?? []).filter((row) => row.group === k);
    if (rows.length)
      list.append(
        make(
          "optgroup",
          { label: `${k} ${group.name}` },
          rows.map((row) =>
            make("option", { value: row.user }, `user ${row.user}${row.territory ? ` · ${row.territory}` : ""}`),
          ),
        ),
      );
  });
}

/** How many pairs of the batch are a row's; the record may hold only some of them. */
function pairsOf(row) {
  const count = row.pairs_in_batch ?? row.pairs.length;
  return `${counted(count)} ${count === 1 ? "pair" : "pairs"}`;
}

/** One user row: its pairs, and how its gradient shrinks or grows on the way down. */
function showRow(row, groups) {
  byId("one-row").hidden = !row;
  if (!row) return;
  byId("one-row-heading").textContent = `User ${row.user}`;
  const pairs = make("table");
  setTable(
    pairs,
    "Pairs of this user",
    ["title", "label y", "p", "dz"],
    row.pairs.map((pair) => [
      String(pair.title),
      cell(String(pair.label), pair.label),
      cell(shown(pair.probability), pair.probability),
      cell(shown(pair.dz), pair.dz),
    ]),
  );
  const path = make("table");
  const lines = [
    ["dU", "at the output of its head", row.gradient.U],
    ["dA₂", "at the output of the tower", row.gradient.A2],
    ["dZ₂", "before layer 2’s batch-norm", row.gradient.Z2],
    ["dZ₁", "before layer 1’s batch-norm", row.gradient.Z1],
  ];
  setTable(
    path,
    "Norms of this row’s gradients",
    ["gradient", "where", "norm"],
    lines.map(([name, where, value]) => [name, make("td", { class: "words" }, where), cell(shown(value), value)]),
  );
  const some =
    row.pairs.length < (row.pairs_in_batch ?? 0)
      ? ` Of ${pairsOf(row)}, these are the ${row.pairs.length} with the largest |dz|.`
      : "";
  const where = row.territory ? `, in ${row.territory}` : "";
  const said = [
    `Of group ${row.group}, ${groups[row.group]?.name}${where}. dz = (p − y) / B says which way each pair pulls;`,
    `the row’s gradient goes down through head ${row.group} and no other.${some}`,
  ].join(" ");
  byId("one-row-body").replaceChildren(
    make("p", {}, said),
    make(
      "div",
      { class: "pair-tables" },
      ...[
        [pairs, "Pairs of this user"],
        [path, "Norms on the way down"],
      ].map(([table, label]) =>
        make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, table),
      ),
    ),
  );
}
