// The page of an inspected batch: figure, matrix and sentence follow one state.
{
  const whole = JSON.parse(byId("record").textContent);
  const network = networkOf(whole);
  const record = { ...whole, groups: network.groups };
  const measures = measuresOf(record);

  const state = makeState((wanted) => {
    const names = record.blocks.flatMap((block) => [block.name, nodeOf(block)]);
    return {
      mask: oneOf(wanted.mask, ["on", "off"], FIRST.mask),
      row: null,
      group: oneOf(
        wanted.group,
        record.groups.map((group, k) => k),
      ),
      block: oneOf(wanted.block, names),
      show: oneOf(wanted.show, ["norm", "share"], "norm"),
      step: 0,
      theme: oneOf(wanted.theme, ["light", "dark"]),
      type: oneOf(wanted.type, ["large"]),
    };
  });

  followComfort(state);
  followControls(state, record.groups);
  const figure = makeFigure(
    byId("figure"),
    network,
    (node) => state.set(pickOf(node)),
    (node) => measures.blocks(node).length > 0,
  );
  const showMatrix = makeMatrix(byId("matrix-table"), record, (block, group) => state.set({ block, group }));
  for (const input of document.querySelectorAll("[name=show]")) {
    input.addEventListener("change", () => state.set({ show: input.value }));
  }
  const owned = record.blocks.some((block) => isNumber(block.owner));
  for (const id of ["mask", "key-own", "key-dark", "key-leak"]) byId(id).hidden = !owned; // nothing to mask
  for (const id of ["groups", "measures"]) byId(id).hidden = record.groups.length < 2; // one has all of every gradient
  showPanels(record);
  state.listen(show);
  show(state.get());

  /** What a click on the figure means: a head stands for its group, any other node for its blocks. */
  function pickOf(node) {
    const [name, owner] = String(node).split(".");
    const now = state.get();
    if (name === "head" || name === "bias") {
      const group = Number(owner);
      return now.group === group ? { group: null } : { group, block: null };
    }
    return { block: now.block === node || !measures.blocks(node).length ? null : node };
  }

  function show(now) {
    const view = viewOf(record, network, measures, now);
    figure.show(view);
    showMatrix(now);
    byId("matrix-note").hidden = now.mask === "on" || record.blocks.every((block) => block.unmasked);
    for (const input of document.querySelectorAll("[name=show]")) {
      input.checked = input.value === now.show;
      input.disabled = now.mask === "off";
    }
    const said = tell(now);
    if (byId("finding").textContent !== said) byId("finding").textContent = said;
  }

  function nameOf(k) {
    return `${k} (${record.groups[k]?.name})`;
  }

  function tell(now) {
    const picked = blocksPicked(record, now.block);
    if (picked.length) return tellBlock(now.block, picked, now);
    if (now.mask === "off") return tellLeak(now.group);
    return now.group === null ? tellAll() : tellGroup(now.group);
  }

  /** How many of the numbers that the mask should make 0 are 0: counted, not assumed, and as in the summary only of
   * blocks that get a gradient at all. */
  function cellsOfOthers(group) {
    const found = record.blocks
      .filter((block) => isNumber(block.owner) && (block.gradient !== 0 || block.by_group.some((norm) => norm !== 0)))
      .flatMap((block) => block.by_group.filter((norm, k) => k !== block.owner && (group === null || k === group)));
    return { all: found.length, zeros: found.filter((norm) => norm === 0).length };
  }

  function tellAll() {
    const { all, zeros } = cellsOfOthers(null);
    if (!all) return "No block belongs to one group: all groups share every block.";
    const owned = record.blocks.filter((block) => isNumber(block.owner)).length;
    const still = all < owned * (record.groups.length - 1) ? " (not counting blocks without a gradient)" : "";
    return [
      "Rows of all groups move the shared blocks; only a group’s own rows move its own blocks.",
      `For other groups, ${zeros === all ? `all ${all}` : `${zeros} of ${all}`} numbers are exactly 0${still}.`,
    ].join(" ");
  }

  function tellGroup(group) {
    const { all, zeros } = cellsOfOthers(group);
    const parts = ["user.1", "user.2", `head.${group}`]
      .map((id) => [id, measures.part(id, group)])
      .filter(([, value]) => isNumber(value));
    const sent = parts
      .map(([id, value]) => `${inWords(value)} to ${id.replace("user.", "user layer ").replace("head.", "head ")}`)
      .join(", ");
    const elsewhere = all ? ` Of their ${all} numbers in other groups’ blocks, ${zeros} are exactly 0.` : "";
    const { pairs } = record.groups[group];
    return `${counted(pairs)} pairs of group ${nameOf(group)} send a gradient of norm ${sent}.${elsewhere}`;
  }

  function tellBlock(name, picked, { group, mask }) {
    const off = mask === "off";
    const by = record.groups.map((_, k) =>
      together(picked.map((block) => (off ? block.unmasked?.[k] : block.by_group[k]))),
    );
    if (!by.every(isNumber)) return `${name} is shared by all groups; the mask-off pass measures what groups own.`;
    const norm = (k) => (by[k] === 0 ? "exactly 0" : inWords(by[k]));
    const whole = off ? "" : `; all rows together ${inWords(together(picked.map((block) => block.gradient)))}`;
    if (group !== null)
      return `${off ? "Mask off: rows" : "Rows"} of group ${nameOf(group)} send ${norm(group)} into ${name}${whole}.`;
    const order = by.map((_, k) => k).sort((a, b) => by[b] - by[a]);
    const zeros = order.filter((k) => by[k] === 0).length;
    const rest = zeros
      ? `; ${zeros} of ${by.length} groups send exactly 0`
      : by.length > 1
        ? `; the least from group ${nameOf(order.at(-1))}, ${norm(order.at(-1))}`
        : "";
    const most = `the most comes from group ${nameOf(order[0])}, ${norm(order[0])}${rest}`;
    return `What rows of each group send into ${name}${off ? " with the mask off" : ""}: ${most}.`;
  }

  function tellLeak(group) {
    const total = (head, number) => together(record.leak.filter((line) => line.head === head).map(number));
    const leaks = record.groups
      .map((_, head) => [
        { head, own: total(head, (line) => line.own) },
        total(head, (line) => (group === null ? line.others : line.by_group[group])),
      ])
      .filter(([line, value]) => line.head !== group && isNumber(value));
    if (!leaks.length) return "There is no head to leak into.";
    const whose = group === null ? "rows of other groups" : `rows of group ${nameOf(group)}`;
    if (leaks.length > 4) {
      const [most, value] = leaks.reduce((a, b) => (b[1] > a[1] ? b : a));
      const moved = leaks.filter(([, each]) => each > 0).length;
      return [
        `Mask off: ${whose} would move the blocks of ${moved} groups that are not theirs;`,
        `most those of group ${nameOf(most.head)}, by ${inWords(value)} (its own rows: ${inWords(most.own)}).`,
      ].join(" ");
    }
    const said = leaks
      .map(([line, value]) => `${line.head} by ${inWords(value)} (its own rows: ${inWords(line.own)})`)
      .join(", ");
    return `Mask off: ${whose} would move the blocks of group ${said}.`;
  }
}
