// The page of an inspected batch: figure, matrix and sentence follow one state.
{
  const whole = JSON.parse(byId("record").textContent);
  const network = networkOf(whole);
  const record = { ...whole, groups: network.groups };
  const measures = measuresOf(record);

  const state = makeState((wanted) => {
    const row = (record.rows ?? []).find((each) => String(each.user) === wanted.row);
    const names = record.blocks.flatMap((block) => [block.name, nodeOf(block)]);
    return {
      mask: oneOf(wanted.mask, ["on", "off"], "on"),
      row: row ? wanted.row : null,
      group: row ? row.group : oneOf(wanted.group, record.groups.map((group, k) => k)),
      block: oneOf(wanted.block, names),
      show: oneOf(wanted.show, ["norm", "share"], "norm"),
      step: 0,
      theme: oneOf(wanted.theme, ["light", "dark"]),
      type: oneOf(wanted.type, ["large"]),
    };
  });

  followComfort(state);
  followControls(state, record.groups);
  const figure = makeFigure(byId("figure"), network, (node) => state.set(pickOf(node)));
  const showMatrix = makeMatrix(byId("matrix-table"), record, (block, group) => state.set({ block, group, row: null }));
  const rows = byId("row");
  fillRows(rows, record);
  byId("row-field").hidden = !record.rows?.length;
  rows.addEventListener("change", () => state.set({ row: rows.value || null, block: null, mask: rows.value ? "on" : state.get().mask }));
  for (const input of document.querySelectorAll("[name=show]")) {
    input.addEventListener("change", () => state.set({ show: input.value }));
  }
  byId("key-own").hidden = !network.heads.length && !network.bias.length;
  showPanels(record);
  state.listen(show);
  show(state.get());

  /** What a click on the figure means: a head stands for its group, any other node for its blocks. */
  function pickOf(node) {
    const [name, owner] = String(node).split(".");
    const now = state.get();
    if (name === "head" || name === "bias") {
      const group = Number(owner);
      return now.group === group && !now.row ? { group: null, row: null } : { group, row: null, block: null };
    }
    return { block: now.block === node || !measures.blocks(node).length ? null : node, row: null };
  }

  function show(now) {
    const view = viewOf(record, network, measures, now);
    figure.show(view);
    showMatrix(now);
    rows.value = now.row ?? "";
    for (const input of document.querySelectorAll("[name=show]")) {
      input.checked = input.value === now.show;
      input.disabled = now.mask === "off";
    }
    const row = (record.rows ?? []).find((each) => String(each.user) === now.row);
    showRow(row, record.groups);
    const said = tell(now, row);
    if (byId("told").textContent !== said) byId("told").textContent = said;
  }

  function nameOf(k) {
    return `${k} ${record.groups[k]?.name}`;
  }

  function tell(now, row) {
    if (row) return `User ${row.user} of group ${nameOf(row.group)}: ${row.pairs.length} ${row.pairs.length === 1 ? "pair" : "pairs"}. Its gradient has norm ${shown(row.gradient.U)} at U, ${shown(row.gradient.A2)} at the tower’s output, ${shown(row.gradient.Z1)} in layer 1.`;
    if (now.mask === "off") return tellLeak(now.group);
    const picked = blocksPicked(record, now.block);
    if (picked.length) return tellBlock(now.block, picked, now.group);
    return now.group === null ? tellAll() : tellGroup(now.group);
  }

  /** How many of the numbers that the mask should make 0 are 0: counted, not assumed. */
  function foreign(group) {
    const found = record.blocks.filter((block) => isNumber(block.owner))
      .flatMap((block) => block.by_group.filter((norm, k) => k !== block.owner && (group === null || k === group)));
    return { all: found.length, zeros: found.filter((norm) => norm === 0).length };
  }

  function tellAll() {
    const { all, zeros } = foreign(null);
    if (!all) return "No block belongs to one group: every gradient is everybody’s.";
    return `Shared blocks are moved by every group, a head by its own. Of the ${all} numbers outside the heads’ own groups, ${zeros} are exactly 0.`;
  }

  function tellGroup(group) {
    const { all, zeros } = foreign(group);
    const parts = ["user.1", "user.2", `head.${group}`].map((id) => [id, measures.part(id, group)]).filter(([, value]) => isNumber(value));
    const sent = parts.map(([id, value]) => `${shown(value)} to ${id.replace("user.", "user layer ").replace("head.", "head ")}`).join(", ");
    return `${counted(record.groups[group].pairs)} pairs of group ${nameOf(group)} send a gradient of norm ${sent}.${all ? ` Of their ${all} numbers in other groups’ blocks, ${zeros} are exactly 0.` : ""}`;
  }

  function tellBlock(name, picked, group) {
    const by = record.groups.map((_, k) => together(picked.map((block) => block.by_group[k])));
    if (group !== null) return `Rows of group ${nameOf(group)} move ${name} with norm ${by[group] === 0 ? "exactly 0" : shown(by[group])}, out of ${shown(together(picked.map((b) => b.gradient)))} by all rows.`;
    return `Who moves ${name}: ${by.map((norm, k) => `${nameOf(k)} ${norm === 0 ? "exactly 0" : shown(norm)}`).join(", ")}.`;
  }

  function tellLeak(group) {
    const leaks = (record.leak ?? []).map((line) => [line, group === null ? line.foreign : line.by_group?.[group]]).filter(([line, value]) => line.head !== group && isNumber(value));
    if (!leaks.length) return "There is no head to leak into.";
    const said = leaks.map(([line, value]) => `head ${line.head} by ${shown(value)} (its own rows: ${shown(line.own)})`).join(", ");
    return `Mask off: ${group === null ? "foreign rows" : `rows of group ${nameOf(group)}`} would move ${said}.`;
  }
}
