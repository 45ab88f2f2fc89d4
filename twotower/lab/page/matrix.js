// The matrix blocks × groups: a table of buttons with one tab stop, linked with the figure both ways.

/** Build the table once; returns how to show a state in it. `pick(block, group)` is called for what is picked. */
function makeMatrix(table, record, pick) {
  const { blocks, groups } = record;
  const button = (text, label, block, group) => {
    const made = make("button", { type: "button", tabindex: "-1", "aria-label": label }, text);
    made.addEventListener("click", () => pick(block, group));
    return made;
  };
  const corner = button("block", "block: pick nothing", null, null);
  const heads = groups.map((group, k) => {
    const made = button("", `group ${k}, ${group.name}`, null, k);
    made.append(
      groupHeading(k, group.name),
      make("span", { class: "note" }, `${counted(group.pairs)} pairs`),
    );
    return make("th", { scope: "col" }, made);
  });
  const asides = [
    ["whole", "norm of the whole gradient"],
    ["weight", "norm of the weights"],
    ["update", "norm of Adam’s update in this step"],
    ["update\u00a0∕ weight", "how far the step moves the block"],
  ];
  const lines = blocks.map((block, n) => lineOf(block, button, n > 0 && block.part !== blocks[n - 1].part));
  table.replaceChildren(
    make("caption", { class: "visually-hidden" }, "Norm of each block’s gradient from each group’s rows"),
    make(
      "thead",
      {},
      make(
        "tr",
        {},
        make("th", { scope: "col" }, corner),
        heads,
        asides.map(([name, hint]) => make("th", { scope: "col", class: "aside", title: hint }, name)),
      ),
    ),
    make(
      "tbody",
      {},
      lines.map((line) => line.element),
    ),
  );
  nameWhereRoom(
    table,
    groups.map((group) => group.name),
  );
  rove([...table.querySelectorAll("button")], (place, key) => {
    const columns = groups.length + 1;
    const way = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
    const sideways = Math.abs(way) === 1 && Math.floor((place + way) / columns) !== Math.floor(place / columns);
    return way && !sideways ? place + way : NaN;
  });
  let mask = "on";
  let block = null;
  return (state) => {
    if (state.mask !== mask && state.mask === "off")
      bringIntoView(lines.find((line) => isNumber(line.block.owner))?.element, 0.5);
    mask = state.mask;
    const picked = new Set(blocksPicked(record, state.block));
    if (state.block !== block && picked.size) bringIntoView(lines.find((line) => picked.has(line.block)).element);
    block = state.block;
    lines.forEach((line) => line.show(state, picked.has(line.block)));
    heads.forEach((head, k) => {
      head.className = k === state.group ? "picked" : "";
      head.firstElementChild.setAttribute("aria-pressed", String(k === state.group));
    });
  };
}

/** Scroll to a line within the table's own region, unless it is in sight, above a share of the region's height. */
function bringIntoView(line, lowest = 1) {
  const region = line?.closest(".scroll");
  if (!region) return;
  const { offsetTop: top, offsetHeight: height } = line;
  const first = region.scrollTop + 2 * height; // beneath the table's head
  const last = region.scrollTop + lowest * region.clientHeight - height;
  if (top < first || top > last) region.scrollTop = Math.max(0, top - region.clientHeight / 3);
}

/** One block's line; the `first` of a part of the network has a rule above it. */
function lineOf(block, button, first) {
  const heading = make("th", { scope: "row" }, button(block.name, `block ${block.name}`, block.name, null));
  const cells = block.by_group.map((norm, k) => {
    const made = button("", null, block.name, k);
    return make("td", { "data-block": block.name, "data-group": k }, made);
  });
  const asides = [
    [block.gradient, shown],
    [block.weight, shown],
    [block.update, shown],
    [block.ratio, percent],
  ].map(([value, told]) => cell(told(value), value, { class: "aside" }));
  const element = make("tr", {}, heading, cells, asides);

  function show(state, isPicked) {
    element.className = [first ? "first" : "", isPicked ? "picked" : ""].join(" ").trim();
    heading.firstElementChild.setAttribute("aria-pressed", String(isPicked));
    cells.forEach((td, k) => {
      const told = cellOf(block, k, state);
      td.className = [told.tone, isPicked && k === state.group ? "cross" : ""].join(" ").trim();
      td.style.setProperty("--heat", told.heat);
      td.title = told.hint;
      td.firstElementChild.textContent = told.text;
      td.firstElementChild.setAttribute(
        "aria-label",
        /^(own|shared)$/.test(told.tone) ? told.text : `${told.text}, ${told.hint}`,
      );
      if (isNumber(told.value)) td.dataset.value = told.value;
      else delete td.dataset.value;
    });
  }
  return { block, element, show };
}

/** What one cell says: the norm or the share, with the mask or without it. */
function cellOf(block, k, { mask, show }) {
  const own = isNumber(block.owner);
  const off = mask === "off";
  const norms = off ? (block.unmasked ?? []) : block.by_group;
  const norm = norms[k];
  const share = show === "share" && !off;
  const value = share ? block.share?.[k] : norm;
  const heat = isNumber(norm) ? norm / Math.max(...norms.filter(isNumber), Number.MIN_VALUE) : 0;
  const told = { value, heat: heat.toFixed(3), text: share ? percent(value) : shown(value) };
  if (!isNumber(norm))
    return { ...told, tone: "", hint: off && !own ? "shared: measured with the mask on" : "not measured" };
  if (norm === 0 && own && k === block.owner)
    return { ...told, tone: "own nothing", hint: "from its own group, and yet exactly 0" };
  if (norm === 0) return { ...told, tone: "zero", hint: own && !off ? "masked: exactly 0" : "exactly 0" };
  if (own && k !== block.owner)
    return {
      ...told,
      tone: "leak",
      hint: off ? "leak: rows of another group reach this head" : "not 0: a leak through the mask",
    };
  return { ...told, tone: own ? "own" : "shared", hint: own ? "from its own group" : "shared by all groups" };
}
