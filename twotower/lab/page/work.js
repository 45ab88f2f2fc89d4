// Which block of the figure is at work in a step of a trace, and how the figure shows it.

/** Steps with a name that both runs share: what happens where, and the how-manieth time. */
function keyedSteps(steps, network) {
  const seen = new Map();
  return steps.map((step) => {
    const name = [step.stage, step.block, step.parameter ?? "", step.group ?? "", step.name].join(" ");
    seen.set(name, (seen.get(name) ?? 0) + 1);
    return { ...step, key: `${name} ${seen.get(name)}`, node: nodeAtWork(step, network) };
  });
}

/** The node of the figure where a step happens; "heads" where it is all of them. */
function nodeAtWork(step, network) {
  const part = step.parameter ?? (step.block === "adam" ? step.name : step.block);
  const tower = /\b(user|title)\.(?:W|gamma|beta)?(\d)/.exec(part ?? "");
  if (tower) return `${tower[1]}.${tower[2]}`;
  const owner = step.group ?? /\[(\d+)\]/.exec(step.name)?.[1];
  if (/\btitle_bias\b/.test(`${part} ${step.name}`) && network.bias.length && owner !== undefined)
    return `bias.${owner}`;
  if (/^head/.test(part)) return owner !== undefined && owner !== null ? `head.${owner}` : "heads";
  return part === "loss" ? "loss" : "score";
}

/** The figure at a step: the block at work, those done, and the way the numbers go, up or down. */
function viewOfStep(steps, place, look) {
  const { group, mask, users, network, largest } = look;
  const step = steps[place];
  const view = { nodes: {}, edges: {}, picked: null, group: step.group };
  const norm = step.stage === "backward" ? normOf(step, look) : null;
  const work = {
    number: norm,
    text: norm === null ? [step.name] : [`‖${step.name}‖ = ${shown(norm)}`, `‖·‖ = ${shown(norm)}`, shown(norm)],
    spoken: `at work: ${step.name}${norm === null ? "" : `, norm ${shown(norm)}`}`,
  };
  const light = (id, tone) => {
    const ids = id === "heads" ? network.heads.map((k) => `head.${k}`) : [id];
    ids.forEach((each) => {
      view.nodes[each] = { tone, ...(tone === "done" ? {} : work) };
    });
    return ids;
  };
  steps
    .slice(0, place)
    .filter((each) => each.stage === step.stage)
    .forEach((each) => light(each.node, "done"));
  const aside = (id) => group !== null && ownerOf(id) !== null && ownerOf(id) !== group;
  for (const id of network.heads.flatMap((k) => [`head.${k}`, `bias.${k}`])) {
    if (aside(id)) view.nodes[id] = { tone: "faint" };
  }
  const leaking =
    mask === "off" &&
    isNumber(step.group) &&
    (step.rows ?? []).some((name) => users.has(name) && users.get(name).group !== step.group);
  const nodes = light(step.node, leaking ? "leak" : "work");
  for (const [id, from, to] of edgesOf(network)) {
    const up = step.stage === "forward" || step.stage === "loss";
    const otherGroup = (end) => isNumber(step.group) && ownerOf(end) !== null && ownerOf(end) !== step.group;
    const seen = [from, to].every((end) => nodes.includes(end) || !(aside(end) || otherGroup(end)));
    if (step.stage !== "adam" && seen && nodes.includes(up ? to : from)) {
      view.edges[id] = {
        tone: leaking ? "leak" : /head|bias/.test(id) ? "own" : /score>loss/.test(id) ? "plain" : "shared",
        weight: norm === null ? 0.3 : Math.sqrt(norm / largest),
        way: up ? "up" : "down",
      };
    }
  }
  return view;
}

/** The group that a node of the figure belongs to, or null. */
function ownerOf(id) {
  const found = /^(?:head|bias)\.(\d+)$/.exec(id);
  return found ? Number(found[1]) : null;
}

/** Every line of the figure: its name and both ends, the lower one first. */
function edgesOf(network) {
  const below = network.middle ? "middle" : "user.2";
  const pairs = [
    ["user.features", "user.1"],
    ["user.1", "user.2"],
    ["title.features", "title.1"],
    ["title.1", "title.2"],
    ["title.2", "score"],
    ["score", "loss"],
  ];
  network.heads.forEach((k) => pairs.push([below, `head.${k}`], [`head.${k}`, "score"]));
  network.bias.forEach((k) => pairs.push(["title.features", `bias.${k}`], [`bias.${k}`, "score"]));
  if (!network.heads.length) pairs.push([below, "score"]);
  if (network.middle) pairs.push(["user.2", "middle"]);
  return pairs.map(([from, to]) => [`${from}>${to}`, from, to]);
}
