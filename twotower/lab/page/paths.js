// Which numbers of an inspection belong to which block of the figure, for what is picked: the gradient's path.

/** The norm of several blocks taken together, of norms that may be unknown. */
function together(norms) {
  return norms.length && norms.every(isNumber) ? Math.hypot(...norms) : null;
}

/** Everything that the figure and the sentence need of the record, by node. */
function measuresOf(record) {
  const byNode = new Map();
  for (const block of record.blocks) {
    const id = nodeOf(block);
    byNode.set(id, [...(byNode.get(id) ?? []), block]);
  }
  const of = (id, number) => together((byNode.get(id) ?? []).map(number));
  const all = record.blocks.flatMap((b) => [b.gradient, ...b.by_group, ...(b.unmasked ?? [])]).filter(isNumber);
  return {
    blocks: (id) => byNode.get(id) ?? [],
    whole: (id) => of(id, (block) => block.gradient),
    part: (id, k) => of(id, (block) => block.by_group[k]),
    unmasked: (id, k) => of(id, (block) => block.unmasked?.[k]),
    largest: Math.max(...all, Number.MIN_VALUE),
  };
}

/** The blocks that a pick means: one by its name, or all of a node of the figure. */
function blocksPicked(record, name) {
  if (name === null) return [];
  return record.blocks.filter((block) => block.name === name || nodeOf(block) === name);
}

/** The figure's view of a state: tone, number and thickness for every node and edge. */
function viewOf(record, network, measures, state) {
  const { group, mask } = state;
  const picked = blocksPicked(record, state.block);
  const view = { nodes: {}, edges: {}, group, picked: picked.length ? nodeOf(picked[0]) : null };
  const number = (id) => numberAt(id, { record, measures, state, picked, view });
  const ids = ["user.1", "user.2", "title.1", "title.2", "middle", "territory", "score"];
  for (const id of [...ids, ...network.heads.map((k) => `head.${k}`), ...network.bias.map((k) => `bias.${k}`)]) {
    if (measures.blocks(id).length) view.nodes[id] = nodeTold(id, number(id), { group, mask, network });
  }
  view.nodes.loss = view.nodes.features = { tone: "" };
  if (picked.length && group === null && mask === "on") tellSenders(view, picked, network);
  if (picked.length === 1) tellPicked(view, picked[0], state);
  lightEdges(view, network, measures, { group, mask, picked });
  return view;
}

/** The norm that a node shows: of one group's rows or of all, with the mask or without it. */
function numberAt(id, { measures, state, record }) {
  const [name, owner] = id.split(".");
  const own = name === "head" || name === "bias" ? Number(owner) : null;
  if (state.mask === "on") return state.group === null ? measures.whole(id) : measures.part(id, state.group);
  if (own === null) return null; // shared blocks are measured with the mask on
  if (state.group !== null) return measures.unmasked(id, state.group);
  return together(
    record.groups
      .map((g, k) => k)
      .filter((k) => k !== own)
      .map((k) => measures.unmasked(id, k)),
  );
}

function nodeTold(id, value, { group, mask }) {
  const [name, owner] = id.split(".");
  const own = name === "head" || name === "bias" ? Number(owner) : null;
  if (!isNumber(value)) return { tone: "", number: null, text: "" };
  const leak = mask === "off" && own !== null && own !== group;
  const masked = mask === "on" && own !== null && group !== null && own !== group; // or else 0 has another reason
  const tone = value === 0 ? (masked ? "dark" : "still") : leak ? "leak" : "lit";
  const spoken = value === 0 ? "gradient exactly 0" : `${leak ? "leak" : "gradient"} ${shown(value)}`;
  return {
    tone,
    number: value,
    text: name === "score" ? [`s and c: ${shown(value)}`, shown(value)] : normText(value),
    spoken,
  };
}

/** Only what is 0 to the last bit says so. */
function normText(value) {
  return value === 0 ? ["exactly 0", "0"] : [shown(value), shown(value, 2), shown(value, 1)];
}

/** A picked block among the others of its node: its own number, under its name. */
function tellPicked(view, block, { group, mask }) {
  const number = mask === "off" ? block.unmasked?.[group] : group === null ? block.gradient : block.by_group[group];
  if (!isNumber(number)) return;
  const text = [`${block.name}: ${normText(number)[0]}`, ...normText(number)];
  view.nodes[nodeOf(block)] = { ...view.nodes[nodeOf(block)], number, text, spoken: text[0] };
}

/** A picked block: every head shows what its group's rows send there. */
function tellSenders(view, picked, network) {
  const target = nodeOf(picked[0]);
  for (const id of Object.keys(view.nodes)) if (id !== target) view.nodes[id] = { tone: "faint" };
  const whole = together(picked.map((block) => block.gradient));
  view.nodes[target] = { tone: "lit", number: whole, text: shown(whole), spoken: `whole gradient ${shown(whole)}` };
  for (const k of network.heads) {
    if (target === `head.${k}`) continue;
    const sent = together(picked.map((block) => block.by_group[k]));
    view.nodes[`head.${k}`] = {
      tone: sent !== 0 ? "lit" : isNumber(picked[0].owner) ? "dark" : "still",
      number: sent,
      text: normText(sent),
      spoken: `its rows send ${sent === 0 ? "exactly 0" : shown(sent)}`,
    };
  }
}

function lightEdges(view, network, measures, { group, mask, picked }) {
  const node = (id) => view.nodes[id] ?? {};
  const light = (id, like, { tone = null, value = like.number, text = "" } = {}) => {
    const by = { lit: tone, dark: "dark", leak: "leak" }[like.tone];
    if (by)
      view.edges[id] = {
        tone: by,
        weight: Math.sqrt((value ?? 0) / measures.largest),
        way: by === "dark" ? "" : "down",
        text,
      };
  };
  const below = network.middle ? "middle" : "user.2";
  const target = view.picked;
  const reaches = (id) => group !== null || !picked.length || mask === "off" || onTheWay(id, target);
  for (const k of network.heads) {
    const head = node(`head.${k}`);
    light(`head.${k}>score`, head, { tone: "own" });
    if (!reaches(below) && below !== target) continue;
    if (head.tone === "dark") light(`${below}>head.${k}`, head);
    if (head.tone === "lit" && node("user.2").tone === "lit") {
      const value = group === null && !picked.length ? measures.part("user.2", k) : head.number;
      light(`${below}>head.${k}`, head, { tone: "shared", value });
    }
  }
  for (const k of network.bias) light(`bias.${k}>score`, node(`bias.${k}`), { tone: "own" });
  for (const [id, from] of [
    ["user.1>user.2", "user.1"],
    ["user.2>middle", "middle"],
    ["title.1>title.2", "title.1"],
    ["title.2>score", "title.2"],
    ["territory>score", "territory"],
    ["user.2>score", "user.2"],
    ["middle>score", "middle"],
  ]) {
    if (reaches(from)) light(id, node(from), { tone: "shared" });
  }
  const busy = Object.values(view.edges).some((edge) => edge.way === "down");
  if (busy) view.edges["score>loss"] = { tone: "plain", weight: 0.2, way: "down" };
}

/** Whether a node lies between the score and the target, or is the target. */
function onTheWay(id, target) {
  const [tower, layer] = target.split(".");
  if (id === target) return true;
  return (
    (tower === "user" && id === "user.2" && layer === "1") || (tower === "title" && id === "title.2" && layer === "1")
  );
}
