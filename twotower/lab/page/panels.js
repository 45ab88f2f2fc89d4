// The tables beneath: agreement between groups, leaks, dead units, the batch itself.

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
  place("conflict", groups.length > 1 ? conflict : null);
  place("leaks", leak);
  place("dead", dead);
  if (conflict?.length) showConflict(conflict, names);
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

function showConflict(conflict, names) {
  setTable(
    byId("conflict-table"),
    "Cosines between groups’ gradients, and the norm of each",
    ["group", ...names.map((name, k) => groupHeading(k, name)), "norm"],
    conflict.map(({ cosine, norm }, i) => [
      `${i} ${names[i]}`,
      ...cosine.map((value) =>
        cell(isNumber(value) ? fixed(value, 2) : DASH, value, {
          class: `heat ${value <= AGAINST ? "negative" : ""}`,
          style: `--heat:${Math.abs(value ?? 0).toFixed(3)}`,
        }),
      ),
      cell(shown(norm), norm),
    ]),
  );
}

function showLeaks(leak, names) {
  setTable(
    byId("leak-table"),
    "Gradient of what each group has to itself without the mask",
    ["to", "its own rows", "other groups’ rows", "others\u00a0∕ own", ...names.map((name, k) => groupHeading(k, name, "from "))],
    leak.map((line) => {
      const times = line.ratio;
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
