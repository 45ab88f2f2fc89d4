// The page of a traced training step: the block at work, its maths, its line of the textbook and its numbers.
{
  const record = JSON.parse(byId("record").textContent);
  const network = networkOf(record);
  const groups = network.groups.map((group) => group.name);
  const pairs = record.network.pairs ?? [];
  const users = new Map(
    record.network.users.map((user) => [
      user.name,
      { ...user, group: typeof user.group === "number" ? user.group : record.network.groups.indexOf(user.group) },
    ]),
  );
  const runs = {
    on: keyedSteps(record.runs.on.steps, network),
    off: keyedSteps(record.runs.off?.steps ?? [], network),
  };

  const state = makeState((wanted) => {
    const mask = oneOf(wanted.mask, ["on", "off"], FIRST.mask);
    const last = Math.max(runs[mask].length, 1);
    return {
      mask,
      row: users.has(wanted.row) ? wanted.row : null,
      group: users.get(wanted.row)?.group ?? oneOf(wanted.group, [...groups.keys()]),
      step: Math.min(Math.max(Math.round(wanted.step) || 1, 1), last),
      theme: oneOf(wanted.theme, ["light", "dark"]),
      type: oneOf(wanted.type, ["large"]),
      block: null,
      show: "norm",
    };
  });

  if (!location.hash && isNumber(record.group)) state.set({ group: record.group });

  followComfort(state);
  followControls(maskKeepsStep(state), network.groups);
  const everything = { users, group: null, row: null };
  const largest = Math.max(
    ...[...runs.on, ...runs.off].filter((step) => step.stage === "backward").map((step) => normOf(step, everything)),
    Number.MIN_VALUE,
  );
  const rows = byId("row");
  fillUsers(rows);
  rows.addEventListener("change", () => state.set({ row: rows.value || null }));
  byId("mask").hidden = byId("next-difference").hidden = !runs.off.length;
  byId("next-difference").addEventListener("click", () => state.set({ step: nextDifference(state.get()) }));
  const figure = makeFigure(
    byId("figure"),
    network,
    (node) => node && state.set({ step: nextOf(node) }),
    (node) => placeOf(node, 0) >= 0,
  );
  const showStep = makeStepper(byId("stepper"), (place) => state.set({ step: place + 1 }));
  const outline = makeOutline(byId("outline-body"));
  showBatch();
  state.listen(show);
  show(state.get());

  /** The state as the controls see it: switching the mask stays at the same step of the other run. */
  function maskKeepsStep(kept) {
    const set = (changes) => {
      if (changes.mask === undefined) return kept.set(changes);
      const from = runs[kept.get().mask];
      const to = runs[changes.mask];
      let place = kept.get().step - 1;
      let found = -1;
      for (; place >= 0 && found < 0; place -= 1) found = to.findIndex((step) => step.key === from[place].key);
      return kept.set({ ...changes, step: Math.max(found, 0) + 1 });
    };
    return { ...kept, set };
  }

  function nextOf(node) {
    const { step } = state.get();
    return (placeOf(node, step) >= 0 ? placeOf(node, step) : placeOf(node, 0)) + 1;
  }

  /** Where a node is at work, from a place on. */
  function placeOf(node, from) {
    return runs[state.get().mask].findIndex(
      (each, i) => i >= from && (each.node === node || (each.node === "heads" && node.startsWith("head."))),
    );
  }

  /** The step after this one, or else the first, whose numbers are not those of the other run. */
  function nextDifference({ mask, step }) {
    const others = new Map(runs[mask === "on" ? "off" : "on"].map((each) => [each.key, each]));
    const found = runs[mask].flatMap((each, place) => (isChanged(each, others.get(each.key)) ? [place + 1] : []));
    return found.find((place) => place > step) ?? found[0] ?? step;
  }

  function isChanged(step, other) {
    const { differ, more } = differences(step, other);
    return differ + more > 0;
  }

  function fillUsers(list) {
    list.append(make("option", { value: "" }, "– all –"));
    list.append(
      ...[...users].map(([name, user]) =>
        make("option", { value: name }, `${name} · ${user.group} ${groups[user.group] ?? ""}`),
      ),
    );
  }

  function show(now) {
    const steps = runs[now.mask];
    const step = steps[now.step - 1];
    const other = runs[now.mask === "on" ? "off" : "on"].find((each) => each.key === step.key);
    const look = { users, groups, pairs, network, largest, group: now.group, row: now.row, mask: now.mask };
    showStep(steps, now.step - 1);
    figure.show(viewOfStep(steps, now.step - 1, look));
    rows.value = now.row ?? "";
    tellStep(step, steps.length, now);
    byId("array").replaceChildren(...arrayTables(step, other, look));
    byId("array-note").textContent = noteOf(step, other, now.mask);
    byId("finding").textContent = toldOf(now.mask);
    outline(steps, now.step - 1, now.mask);
  }

  function tellStep(step, count, now) {
    const shape = step.shape?.length ? ` (${step.shape.join(" × ")})` : "";
    const where = [`Step ${now.step} of ${count}`, step.stage, blockName(step)].filter(Boolean).join(" · ");
    const lines = [
      make("p", { class: "where" }, where),
      make("p", { class: "name" }, make("b", {}, step.name), make("span", { class: "quiet" }, shape)),
      make("p", { class: "maths" }, step.maths ?? ""),
      make(
        "p",
        { class: "source" },
        make("code", {}, step.source ?? ""),
        make(
          "span",
          { class: "note" },
          step.function ? `${step.function}() in reference.py${step.line ? `, line ${step.line}` : ""}` : "",
        ),
      ),
      step.note ? make("p", { class: "remark" }, step.note) : null,
    ];
    byId("step-text").replaceChildren(...lines.filter(Boolean));
  }

  function blockName(step) {
    if (step.parameter) return step.parameter;
    const names = {
      "user.1": "user tower, layer 1",
      "user.2": "user tower, layer 2",
      "title.1": "title tower, layer 1",
      "title.2": "title tower, layer 2",
    };
    if (!isNumber(step.group)) return step.block === step.stage ? "" : (names[step.block] ?? step.block);
    const group = `${step.group} (${groups[step.group]})`;
    return step.block === "head"
      ? `head ${group}`
      : step.block === step.stage
        ? `group ${group}`
        : `${step.block}, group ${group}`;
  }

  function noteOf(step, other, mask) {
    if (!runs.off.length) return "";
    const opposite = mask === "on" ? "off" : "on";
    if (!other) return `With the mask ${opposite} there is no such step.`;
    const { all, differ, more } = differences(step, other);
    const further = more ? ` With the mask ${opposite} there are ${counted(more)} more, of other groups’ rows.` : "";
    if (!differ)
      return `With the mask ${opposite}: the same ${all === 1 ? "number" : `${counted(all)} numbers`}.${further}`;
    return `${counted(differ)} of ${counted(all)} numbers differ with the mask ${opposite}; they are marked.${further}`;
  }

  function toldOf(mask) {
    const { on, off } = record.runs;
    const losses = off
      ? ` Loss: ${inWords(on.loss, 4)} with the mask, ${inWords(off.loss, 4)} without.`
      : ` Loss: ${inWords(on.loss, 4)}.`;
    return (
      (mask === "on"
        ? "Mask on: each head sees the rows of its own group."
        : "Mask off: every head sees every row; rows of other groups leak into it.") + losses
    );
  }

  function makeOutline(holder) {
    let shownSteps = null;
    let items = [];
    return (steps, place) => {
      if (shownSteps !== steps) {
        shownSteps = steps;
        items = steps.map(outlineItem);
        byId("outline-summary").textContent = `All ${steps.length} steps`;
        holder.replaceChildren(
          ...landmarks(steps, (step) => ` · ${step.parameter ?? step.block}`).map(({ name, from, count }) =>
            make(
              "div",
              {},
              make("h3", {}, name),
              make("div", { class: "outline-items" }, items.slice(from, from + count)),
            ),
          ),
        );
        rove(items);
      }
      items.forEach((item, i) => {
        if (i === place) item.setAttribute("aria-current", "step");
        else item.removeAttribute("aria-current");
      });
    };
  }

  function outlineItem(step, i) {
    const made = make(
      "button",
      { type: "button", tabindex: "-1", title: `${step.stage}, ${blockName(step)}` },
      make("span", { class: "tick" }, String(i + 1)),
      ` ${step.name}`,
    );
    made.addEventListener("click", () => state.set({ step: i + 1 }));
    return made;
  }

  function showBatch() {
    byId("batch").hidden = !pairs.length;
    setTable(
      byId("batch-table"),
      "Pairs of the batch",
      ["user", "group", "title", "label y"],
      pairs.map((pair) => [
        String(pair.user),
        make("td", { class: "words" }, `${pair.group} ${groups[pair.group] ?? ""}`),
        make("td", { class: "words" }, String(pair.title)),
        cell(String(pair.label), pair.label),
      ]),
    );
    byId("leaks").hidden = !record.leak?.length;
    setTable(
      byId("leak-table"),
      "Leaks",
      ["block", "its own rows", "other groups’ rows"],
      (record.leak ?? []).map((line) => [
        line.parameter,
        cell(shown(line.own), line.own),
        cell(shown(line.others), line.others, { class: line.others ? "leak-ink" : "" }),
      ]),
    );
  }
}
