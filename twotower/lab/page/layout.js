// Where everything stands: features at the bottom, both towers above, heads, the score and the loss on top.

/** Nodes and edges for a width in pixels and a size of type. An edge runs upwards, as the forward pass does. */
function layOut(network, width, unit, picked) {
  const gap = 2.1 * unit;
  const block = 4.1 * unit;
  const left = { x: 1, w: (network.heads.length ? 0.62 : 0.48) * width };
  const right = { w: 0.335 * width };
  right.x = width - 1 - right.w;
  const heads = headsDrawn(network.heads, picked);
  const rows = placeRows(network, heads, { gap, block, unit });
  const nodes = [];
  const edges = [];
  const add = (id, kind, x, w, row, title, detail) => {
    const node = { id, kind, x, w, y: rows[row].y, h: rows[row].h, title, detail };
    nodes.push(node);
    return node;
  };
  const link = (from, to, x1, x2) =>
    edges.push({ id: `${from.id}>${to.id}`, from: from.id, to: to.id, ...curve(from, to, x1, x2) });
  const centre = (node) => node.x + node.w / 2;

  const { user, title, hidden } = network.widths;
  const towerW = left.w * (heads.length > 2 ? 0.8 : 0.9);
  const towerX = left.x + (left.w - towerW) / 2;
  const titleW = right.w - (network.bias.length ? 1.4 * unit : 0);
  const arrow = (from, to) => (from && to ? `${from} → ${to}` : "");
  const relu = network.model.output === "relu" || network.model.head === "plain" ? " · ReLU" : "";
  const batchnorm = network.model.batchnorm === "group" ? " · batch-norm by group" : " · batch-norm";
  const details = (name, from, end) => {
    const norm = name === "user" ? batchnorm : " · batch-norm";
    return [
      `${arrow(from, hidden)}${norm}${end}`,
      `${arrow(from, hidden)}${end ? " · ReLU" : ""}`,
      arrow(from, hidden),
    ];
  };
  const side = (name, x, w, input) => [
    add(`${name}.features`, "input", x, w, "features", [`${name} features`, name], input ? [`${input} numbers`] : []),
    add(
      `${name}.1`,
      "shared",
      x,
      w,
      "layer1",
      [`${name} tower, layer 1`, `${name} layer 1`, `${name} 1`],
      details(name, input, " · ReLU"),
    ),
    add(
      `${name}.2`,
      "shared",
      x,
      w,
      "layer2",
      [`${name} tower, layer 2`, `${name} layer 2`, `${name} 2`],
      details(name, hidden, name === "user" || network.model.output === "relu" ? relu : ""),
    ),
  ];
  const users = side("user", towerX, towerW, user);
  const titles = side("title", right.x, titleW, title);
  for (const tower of [users, titles]) {
    link(tower[0], tower[1]);
    link(tower[1], tower[2]);
  }

  const scoreX = network.territory ? 0.16 * width : 1;
  const offsets = network.bias.length ? " + Cₖ" : "";
  const formula = network.model.learned_logit === false ? "z = ⟨U, V⟩" : "z = s·⟨U, V⟩ + c";
  const score = add("score", "plain", scoreX, width - 1 - scoreX, "score", [formula + offsets], ["p = sigmoid(z)"]);
  const loss = add(
    "loss",
    "plain",
    scoreX,
    width - 1 - scoreX,
    "loss",
    ["loss"],
    ["Σₖ Σᵢ maskᵢₖ · BCE(zᵢₖ, yᵢ) / B", "masked BCE"],
  );
  link(score, loss);

  let below = users[2];
  if (network.middle) {
    below = add("middle", "shared", towerX, towerW, "middle", [network.middle], ["shared by all heads", "shared"]);
    link(users[2], below);
  }
  const stack = network.heads.length > heads.length ? 1 : 0;
  const slot = left.w / Math.max(heads.length + stack, 1);
  heads.forEach((k, place) => {
    const name = network.groups[k]?.name ?? "";
    const node = add(
      `head.${k}`,
      "own",
      left.x + slot * place + 0.06 * slot,
      0.88 * slot,
      "heads",
      [`head ${k}`, String(k)],
      [name],
    );
    Object.assign(node, { owner: k, narrow: 0.88 * slot < 4.6 * unit });
    link(below, node, inside(below, centre(node), 0.1), centre(node));
    link(node, score, centre(node), inside(score, centre(node), 0.03));
  });
  if (!heads.length) link(below, score, centre(below), inside(score, centre(below), 0.1));
  const more = [];
  const pile = (x, w, count, what) => more.push({ x, y: rows.heads.y, w, h: rows.heads.h, count, what });
  const further = network.heads.length - heads.length;
  if (stack) pile(left.x + slot * heads.length + 0.06 * slot, 0.88 * slot, further, "heads");

  const strip = { x: right.x + 0.3 * right.w, w: 0.7 * right.w };
  const room = Math.max(2, Math.min(8, Math.floor(strip.w / (1.5 * unit)))); // a number stands upright in each
  const biases = headsDrawn(network.bias, picked, room);
  const others = network.bias.length - biases.length;
  const lane = biases.length ? right.x + 0.15 * right.w : centre(titles[2]);
  link(titles[2], score, biases.length ? lane : centre(titles[2]), lane);
  const cellW = strip.w / Math.max(biases.length + (others ? 1 : 0), 1);
  if (others) pile(strip.x + cellW * biases.length + 0.08 * cellW, 0.92 * cellW, others, "title biases");
  biases.forEach((k, place) => {
    const node = add(
      `bias.${k}`,
      "own",
      strip.x + cellW * place + 0.08 * cellW,
      0.92 * cellW,
      "heads",
      [`title bias ${k}`, `C${sub(k)}`],
      [network.groups[k]?.name ?? ""],
    );
    Object.assign(node, { owner: k, narrow: cellW < 4.6 * unit });
    const laneX = width - 1 - 0.35 * unit;
    const bend = node.y + node.h + 0.8 * gap;
    const upwards = `M${laneX} ${titles[0].y + 0.5 * titles[0].h}V${bend}`;
    const turn = `C${laneX} ${bend - 0.5 * gap} ${centre(node)} ${bend - 0.2 * gap} ${centre(node)} ${node.y + node.h}`;
    const d = upwards + turn;
    edges.push({ id: `title.features>${node.id}`, from: "title.features", to: node.id, d, x: laneX, y: bend });
    link(node, score, centre(node), centre(node));
  });
  if (biases.length) titles[0].w = right.w; // its features feed the title bias as well
  if (network.territory) {
    const node = add("territory", "own", left.x, scoreX - unit, "score", ["territory", "terr."], ["offsets"]);
    edges.push({
      id: "territory>score",
      from: "territory",
      to: "score",
      d: `M${node.x + node.w} ${node.y + node.h / 2}H${scoreX}`,
      x: scoreX,
      y: node.y,
    });
  }
  return { width, height: rows.height, unit, nodes, edges, more, heads, biases };
}

/** Heights from the top down: loss, score, heads, what heads share, layer 2, layer 1, features. */
function placeRows(network, heads, { gap, block, unit }) {
  const heights = { loss: 2.9 * unit, score: block, heads: heads.length || network.bias.length ? 5.6 * unit : 0 };
  Object.assign(heights, { middle: network.middle ? block : 0, layer2: block, layer1: block, features: 2.9 * unit });
  const rows = {};
  let y = 1;
  for (const [name, h] of Object.entries(heights)) {
    rows[name] = { y, h };
    if (h) y += h + (name === "score" || name === "middle" || name === "heads" ? 1.25 : 1) * gap;
  }
  rows.height = y - gap + 1;
  return rows;
}

/** An upward line from the top of one node to the bottom of another, as a curve where they are not in line. */
function curve(from, to, x1 = from.x + from.w / 2, x2 = x1) {
  const ends = [x1, from.y, x2, to.y + to.h];
  return { d: curvePath(...ends), x: (x1 + x2) / 2, y: (ends[1] + ends[3]) / 2, ends };
}

function curvePath(x1, y1, x2, y2) {
  const middle = (y1 + y2) / 2;
  return `M${x1} ${y1}C${x1} ${middle} ${x2} ${middle} ${x2} ${y2}`;
}

/** An x that lies within a node, with some margin at both ends. */
function inside(node, x, margin) {
  return Math.min(Math.max(x, node.x + margin * node.w), node.x + (1 - margin) * node.w);
}

function sub(k) {
  return [...String(k)].map((digit) => "₀₁₂₃₄₅₆₇₈₉"[digit]).join("");
}
