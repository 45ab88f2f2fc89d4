// The shape of the real network, from either kind of record: what the figure draws.

/** { groups, heads: [k…], bias: [k…], middle: text or null, widths: {user, title, hidden}, model } */
function networkOf(record) {
  return record.kind === "trace" ? networkOfTrace(record) : networkOfInspection(record);
}

function networkOfInspection(record) {
  const { blocks, groups, subject } = record;
  const owners = (part) =>
    [...new Set(blocks.filter((b) => b.part === part).map((b) => b.owner))]
      .filter((owner) => isNumber(owner))
      .sort((a, b) => a - b);
  const middle = [...new Set(blocks.filter((b) => nodeOf(b) === "middle").map((b) => b.parameter))];
  const first = blocks.find((b) => b.name === "user.W1");
  return {
    groups: groups.map((group, k) => ({ ...group, name: shortName(k, group.name) })),
    heads: owners("head"),
    bias: owners("title bias"),
    middle: middle.length ? middle.join(", ") : null,
    territory: blocks.some((b) => nodeOf(b) === "territory"),
    widths: {
      user: subject.widths?.[0] ?? first?.shape?.[0],
      title: subject.widths?.[1],
      hidden: subject.model?.hidden ?? first?.shape?.[1],
    },
    model: subject.model ?? {},
  };
}

function networkOfTrace(record) {
  const { network, runs } = record;
  const model = network.model ?? {};
  const steps = runs.on.steps;
  const all = network.groups.map((name, k) => k);
  const width = (rows) => rows.find((row) => row.features)?.features.length;
  return {
    groups: network.groups.map((name, k) => ({ name: shortName(k, name) })),
    heads: steps.some((step) => step.block === "head") && model.head !== "none" ? all : [],
    bias: model.title_bias ? all : [],
    middle: model.head === "mmoe" ? "experts" : model.head === "cross-stitch" ? "cross-stitch" : null,
    territory: Boolean(model.territory_bias),
    widths: { user: width(network.users), title: width(network.titles), hidden: model.hidden },
    model,
  };
}

/** A group's name without its number, which stands beside it everywhere; its dots do not begin a line. */
function shortName(k, name) {
  return String(name ?? "")
    .replace(new RegExp(`^${k}\\s*·\\s*`), "")
    .replace(/ …$/, "\u00a0…");
}

/** The node of the figure that a block of an inspection belongs to. */
function nodeOf(block) {
  if (block.part === "user tower") return `user.${block.layer}`;
  if (block.part === "title tower") return `title.${block.layer}`;
  if (block.part === "head") return isNumber(block.owner) ? `head.${block.owner}` : "middle";
  if (block.part === "title bias") return isNumber(block.owner) ? `bias.${block.owner}` : "score";
  if (block.part === "experts") return "middle";
  return block.part === "territory" ? "territory" : "score";
}

/** The heads that are drawn: all of up to eight, else the first ones, the picked one, and a stack for the rest. */
function headsDrawn(heads, picked, most = 8) {
  if (heads.length <= most) return heads;
  const first = heads.slice(0, most - 1);
  if (heads.includes(picked) && !first.includes(picked)) first[first.length - 1] = picked;
  return first;
}

/** What a head computes, in the letters of the textbook. */
function headFormula(model) {
  const rank = model.rank ?? "r";
  return (
    {
      lowrank: `A + A·P·Q, rank ${rank}`,
      residual: "A + A·W + b",
      plain: "A·W + b",
      mmoe: "A + gated experts",
      "cross-stitch": "A + A·Σα·W",
      "market-gate": "A + A·m",
    }[model.head] ?? ""
  );
}
