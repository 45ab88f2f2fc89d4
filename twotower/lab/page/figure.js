// The figure: the paper's Figure 1 as a drawing of blocks that can be picked, with lines as thick as their gradients.

/** Draw the network into an element; `pick(node)` is called with a node's id, or null, for nodes that `isPickable`.
 * Returns how to light it up. */
function makeFigure(holder, network, pick, isPickable) {
  let view = { nodes: {}, edges: {}, picked: null };
  let plan = null;
  let parts = null;

  function redraw() {
    const width = Math.max(300, Math.floor(holder.clientWidth));
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const unit = Math.min(1.05 * rem, Math.max(0.78 * rem, width / 42));
    const focused = holder.contains(document.activeElement) ? document.activeElement.dataset.node : null;
    plan = layOut(network, width, unit, view.group ?? null);
    parts = drawPlan(plan);
    holder.replaceChildren(parts.svg);
    makePickable(plan, parts, pick, isPickable);
    light();
    if (focused) parts.nodes[focused]?.group.focus();
  }

  function light() {
    for (const edge of plan.edges) lightEdge(parts.edges[edge.id], view.edges[edge.id] ?? {}, plan.unit);
    for (const node of plan.nodes)
      lightNode(parts.nodes[node.id], view.nodes[node.id] ?? {}, view.picked === node.id, node);
  }

  function show(next) {
    view = next;
    const hidden = (all, drawn) => all.includes(view.group) && !drawn.includes(view.group);
    if (!plan || hidden(network.heads, plan.heads) || hidden(network.bias, plan.biases)) redraw();
    else light();
  }

  let width = 0;
  new ResizeObserver(() => {
    const size = `${Math.floor(holder.clientWidth)} ${getComputedStyle(document.documentElement).fontSize}`;
    if (size !== width) {
      width = size;
      redraw();
    }
  }).observe(holder);
  return { show, redraw };
}

function drawPlan(plan) {
  const { width, height, unit } = plan;
  const edges = {};
  const nodes = {};
  const lines = draw("g", { "aria-hidden": "true" });
  for (const edge of plan.edges) {
    const line = draw("path", { class: "edge", d: edge.d, "data-edge": edge.id });
    const flow = draw("path", { class: "flow", d: edge.d });
    const label = draw("text", {
      class: "edge-label",
      x: edge.x + (edge.x > width / 2 ? -0.6 : 0.6) * unit,
      y: edge.y + 0.35 * unit,
      "text-anchor": edge.x > width / 2 ? "end" : "start",
    });
    const head = draw("path", { class: "arrow" });
    edges[edge.id] = { line, flow, label, head, ends: edge.ends };
    lines.append(line, flow, head);
  }
  const boxes = draw("g", { role: "toolbar", "aria-label": "Blocks of the network: pick one" });
  for (const node of plan.nodes) {
    nodes[node.id] = drawNode(node, unit);
    boxes.append(nodes[node.id].group);
  }
  const labels = draw(
    "g",
    { "aria-hidden": "true" },
    plan.edges.map((edge) => edges[edge.id].label),
  );
  const svg = draw(
    "svg",
    {
      class: "network",
      width,
      height,
      viewBox: `0 0 ${width} ${height}`,
      style: `font-size:${unit}px`,
      role: "group",
      "aria-labelledby": "network-heading",
    },
    patterns(unit),
    lines,
    boxes,
    plan.more.map((pile) => drawMore(pile, unit)),
    labels,
  );
  return { svg, edges, nodes };
}

/** Stripes for what belongs to one group and dots for a leak: never by colour alone. */
function patterns(unit) {
  const size = 0.55 * unit;
  const stripes = draw(
    "pattern",
    { id: "stripes", width: size, height: size, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    draw("rect", { width: 0.16 * size, height: size, class: "stripe" }),
  );
  const dots = draw(
    "pattern",
    { id: "dots", width: size, height: size, patternUnits: "userSpaceOnUse" },
    draw("circle", { cx: size / 2, cy: size / 2, r: 0.17 * size, class: "dot" }),
  );
  return draw("defs", {}, stripes, dots);
}

function drawNode(node, unit) {
  const { x, y, w, h } = node;
  const middle = x + w / 2;
  const box = draw("rect", { class: "box", x, y, width: w, height: h, rx: 0.4 * unit });
  const texture = draw("rect", { class: "texture", x, y, width: w, height: h, rx: 0.4 * unit });
  const line = (name, text, at, size) =>
    draw("text", { class: name, x: middle, y: y + at * unit, "text-anchor": "middle", "font-size": size * unit }, text);
  const room = w - 0.4 * unit;
  const title = line("title", fitted(node.title, room, unit, 600), 1.35, 1);
  const detail = line("detail", fitted(node.detail, room, 0.82 * unit, 400), 2.35, 0.82);
  const value = line("value", "", 3.45, 1.05);
  if (node.narrow) {
    // upright, along the block
    detail.textContent = "";
    value.setAttribute("transform", `rotate(-90 ${middle} ${y + h - 0.4 * unit})`);
    value.setAttribute("text-anchor", "start");
    value.setAttribute("y", y + h - 0.4 * unit + 0.35 * unit);
    value.setAttribute("font-size", 0.9 * unit);
  } else if (node.owner !== undefined) value.setAttribute("y", y + 4.4 * unit);
  const group = draw(
    "g",
    { class: `node ${node.kind}`, role: "img", "data-node": node.id },
    box,
    texture,
    title,
    detail,
    value,
  );
  const along = node.narrow ? h - 2.1 * unit : room; // not up to the title
  const fit = (texts) =>
    fitNumber(
      [texts].flat(),
      along,
      (node.narrow ? [0.9] : [1.05, 0.85]).map((size) => size * unit),
    );
  const words = node.narrow ? [] : [title, detail];
  const lines = detail.textContent ? 2.35 : 1.35; // of the words alone, which stand in the middle of an empty block
  const spare = (h - (lines + 0.65) * unit) / 2;
  return { group, value, fit, words, spare, name: [node.title[0], node.detail[0]].filter(Boolean).join(", ") };
}

function drawMore({ x, y, w, h, count, what }, unit) {
  const depth = Math.min(0.25 * unit, 0.15 * w);
  const sheets = [2, 1, 0].map((sheet) =>
    draw("rect", {
      class: "box",
      x: x + sheet * depth,
      y: y + sheet * depth,
      width: w - 2 * depth,
      height: h - 2 * depth,
      rx: 0.4 * unit,
    }),
  );
  const text = draw(
    "text",
    { class: "title", x: x + w / 2 - depth, y: y + h / 2, "text-anchor": "middle", "font-size": 0.8 * unit },
    `+${count}`,
  );
  return draw(
    "g",
    { class: "node own more" },
    sheets,
    text,
    draw("title", {}, `${count} more ${what}: pick a group to see its own`),
  );
}

/** How wide a text is in pixels. */
function widthOf(text, size, weight) {
  const pen = (widthOf.pen ??= document.createElement("canvas").getContext("2d"));
  pen.font = `${weight} ${size}px ${getComputedStyle(document.body).fontFamily}`;
  return pen.measureText(text).width;
}

/** The first of several wordings that fits a width, or the last one cut with an ellipsis. */
function fitted(wordings, width, size, weight) {
  const fitting = wordings.find((text) => widthOf(text, size, weight) <= width);
  if (fitting !== undefined) return fitting;
  let kept = [...(wordings.at(-1) ?? "")];
  while (kept.length && widthOf(`${kept.join("")}…`, size, weight) > width) kept = kept.slice(0, -1);
  return kept.length ? `${kept.join("").trimEnd()}…` : "";
}

/** The first wording of a number that fits, in the largest size that does. A number is never cut. */
function fitNumber(wordings, width, sizes) {
  for (const text of wordings) {
    for (const size of sizes) if (widthOf(text, size, 700) <= width) return [text, size];
  }
  return [wordings.at(-1) ?? "", sizes.at(-1)];
}

function makePickable(plan, parts, pick, isPickable) {
  const nodes = plan.nodes.filter((node) => isPickable(node.id));
  const items = nodes.map((node) => parts.nodes[node.id].group);
  items.forEach((item, place) => {
    const { id } = nodes[place];
    item.setAttribute("role", "button");
    item.setAttribute("aria-pressed", "false");
    item.addEventListener("click", () => pick(id));
    item.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        pick(id);
      }
      if (event.key === "Escape") pick(null);
    });
  });
  parts.nodes["user.1"]?.group.setAttribute("tabindex", "0");
  rove(items, (place, key) => nearest(nodes, place, key));
}

/** The node that lies next in the direction of an arrow key. */
function nearest(nodes, place, key) {
  const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
  if (!way) return NaN;
  const middle = (node) => [node.x + node.w / 2, node.y + node.h / 2];
  const [x, y] = middle(nodes[place]);
  let best = NaN;
  let least = Infinity;
  nodes.forEach((node, i) => {
    const [dx, dy] = [middle(node)[0] - x, middle(node)[1] - y];
    const ahead = dx * way[0] + dy * way[1];
    const aside = Math.abs(dx * way[1]) + Math.abs(dy * way[0]);
    if (i !== place && ahead > 1 && ahead + 3 * aside < least) [best, least] = [i, ahead + 3 * aside];
  });
  return best;
}

function lightEdge({ line, flow, label, head, ends }, { tone = "", weight = 0, text = "", way = "" }, unit) {
  const thickness = tone ? Math.max(1.5, Math.min(1, weight) * 0.75 * unit) : 1.5;
  line.setAttribute("class", `edge ${tone}`);
  line.style.strokeWidth = `${thickness}px`;
  flow.setAttribute("class", `flow ${way}`);
  flow.style.strokeWidth = `${0.4 * thickness}px`; // narrower than its line, which would look dashed
  head.setAttribute("class", `arrow ${tone}`);
  label.textContent = text;
  if (!ends) return;
  const [x1, y1, x2, y2] = ends; // a line with an arrow ends within its head, which is pointed
  const size = 0.25 * unit + 0.75 * thickness;
  const [below, above] = [way === "down" ? y1 - size : y1, way === "up" ? y2 + size : y2];
  line.setAttribute("d", curvePath(x1, below, x2, above));
  head.setAttribute("d", way === "down" ? arrowhead(x1, y1, 1, size) : way === "up" ? arrowhead(x2, y2, -1, size) : "");
}

/** A triangle with its point at (x, y): downwards for 1, upwards for −1. */
function arrowhead(x, y, down, size) {
  return `M${x} ${y}L${x - size} ${y - 1.4 * size * down}L${x + size} ${y - 1.4 * size * down}Z`;
}

function lightNode(part, { tone = "", text = "", number = null, spoken = "" }, picked, node) {
  const { group, value, fit, name, words, spare } = part;
  group.setAttribute("class", `node ${node.kind} ${tone} ${node.narrow ? "narrow" : ""}`);
  if (group.getAttribute("role") === "button") group.setAttribute("aria-pressed", String(picked));
  group.setAttribute("aria-label", [name, spoken || [text].flat()[0]].filter(Boolean).join(": "));
  const [told, size] = fit(text);
  for (const line of words) {
    if (told || node.kind === "input" || node.id === "loss") line.removeAttribute("transform");
    else line.setAttribute("transform", `translate(0 ${spare})`);
  }
  value.textContent = told;
  value.setAttribute("font-size", size);
  if (isNumber(number)) value.setAttribute("data-value", number);
  else value.removeAttribute("data-value");
}
