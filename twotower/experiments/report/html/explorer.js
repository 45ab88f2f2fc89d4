// The title explorer: choose a territory and a title, see its users' scores by each model as a figure and as a table.
{
  const holder = document.getElementById("explorer-data");
  if (holder) explore(JSON.parse(holder.textContent));

  function explore(data) {
    const by = (name) => document.getElementById(`explorer-${name}`);
    const territory = by("territory");
    const title = by("title");

    for (const { code, name } of data.territories) territory.add(new Option(name, code));
    if (data.counts[data.first[0]]) territory.value = data.first[0];
    fillTitles(data.first[1]);
    territory.addEventListener("change", () => { fillTitles(title.value); show(); });
    title.addEventListener("change", show);
    by("root").addEventListener("change", show);
    window.addEventListener("resize", show);
    territory.form.addEventListener("submit", (event) => event.preventDefault());
    document.getElementById("explorer").hidden = false;
    show();

    function nameOf(id) {
      return data.titles[id]?.name || id;
    }

    function fillTitles(wanted) {
      const ids = Object.keys(data.counts[territory.value] || {});
      const kinds = { local: "Local titles", global: "Global titles", "": "Other titles" };
      title.replaceChildren();
      for (const [kind, label] of Object.entries(kinds)) {
        const group = document.createElement("optgroup");
        group.label = label;
        const here = ids.filter((id) => (data.titles[id]?.kind || "") === kind);
        here.sort((a, b) => nameOf(a).localeCompare(nameOf(b), "en", { numeric: true }));
        group.append(...here.map((id) => new Option(nameOf(id), id)));
        if (here.length) title.append(group);
      }
      if (ids.includes(wanted)) title.value = wanted;
    }

    function show() {
      const rows = data.counts[territory.value]?.[title.value] || data.methods.map(() => []);
      const users = rows.map((row) => row.reduce((sum, n) => sum + n, 0));
      const shares = rows.map((row, m) => row.map((n) => n / (users[m] || 1)));
      by("facts").textContent = factsOf(title.value, users);
      const width = Math.max(280, Math.min(720, by("figure").clientWidth)); // drawn to fit, so that letters keep their size
      by("figure").replaceChildren(picture(data, shares, nameOf(title.value), by("root").checked, width));
      fillTable(by("head"), by("body"), data, rows, shares);
    }

    function factsOf(id, users) {
      const facts = data.titles[id] || {};
      const known = (value) => value !== null && value !== undefined;
      const count = (value) => value.toLocaleString("en");
      const parts = [`${nameOf(id)}: ${facts.kind ? `a ${facts.kind} title` : "neither local nor global"}`];
      if (known(facts.home_territory)) parts[0] += `, at home in ${facts.home_territory}`;
      if (known(facts.train_positives)) parts.push(`${count(facts.train_positives)} train positives`);
      if (known(facts.test_positives)) parts.push(`${count(facts.test_positives)} test positives`);
      parts.push(`${count(Math.max(...users))} test users here`);
      for (const [method, value] of Object.entries(facts.pr_auc || {})) {
        parts.push(`PR-AUC of ${method}, in all territories, ${known(value) ? value.toFixed(4) : "undefined"}`);
      }
      return `${parts.join("; ")}.`;
    }
  }

  function percent(share) {
    return `${(100 * share).toFixed(share > 0 && share < 0.001 ? 2 : 1)} %`;
  }

  function fillTable(head, body, data, rows, shares) {
    const cell = (tag, text, scope) => {
      const made = document.createElement(tag);
      made.textContent = text;
      if (scope) made.scope = scope;
      return made;
    };
    const line = (cells) => {
      const made = document.createElement("tr");
      made.append(...cells);
      return made;
    };
    const bins = data.edges.slice(1).map((edge, b) => `${data.edges[b].toFixed(2)} to ${edge.toFixed(2)}`);
    head.replaceChildren(line([cell("th", "Score", "col"), ...data.methods.map((m) => cell("th", m.name, "col"))]));
    body.replaceChildren(...bins.map((bin, b) => line([
      cell("th", bin, "row"),
      ...rows.map((row, m) => cell("td", `${row[b] ?? 0} (${percent(shares[m][b] ?? 0)})`)),
    ])));
  }

  // Round shares up to the highest one.
  function ticks(highest, root) {
    if (root) return [0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.7, 1].filter((share) => share <= highest);
    const size = 10 ** Math.floor(Math.log10(highest / 3));
    const step = [5, 2, 1].map((n) => n * size).find((one) => 3 * one <= highest);
    return Array.from({ length: Math.floor(highest / step + 1e-9) + 1 }, (_, i) => i * step);
  }

  // Step lines, one per model, in the colour and dash of the legend.
  function picture(data, shares, name, root, width) {
    const [height, left, right, top, bottom] = [300, 58, 16, 12, 48];
    const filled = Math.max(1, ...shares.map((row) => row.findLastIndex((share) => share > 0) + 1));
    const highest = Math.max(0.01, ...shares.flat());
    const bend = root ? Math.sqrt : (share) => share;
    const end = data.edges[filled];
    const start = data.edges[0];
    const x = (score) => left + ((score - start) / (end - start)) * (width - left - right);
    const y = (share) => height - bottom - (bend(share) / bend(highest)) * (height - bottom - top);

    const make = (tag, attributes, text) => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
      if (text !== undefined) made.textContent = text;
      return made;
    };
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
    svg.append(make("title", {}, `User histograms of the scores of ${name}; the table below has the values`));
    for (const share of ticks(highest, root)) {
      svg.append(make("line", { x1: left, x2: width - right, y1: y(share), y2: y(share), stroke: "var(--line)" }));
      svg.append(make("text", { x: left - 8, y: y(share) + 4, "text-anchor": "end", class: "tick" }, percent(share)));
    }
    const every = Math.ceil(filled / (width < 500 ? 4 : 8));
    for (let b = 0; b <= filled; b += every) {
      const anchor = { x: x(data.edges[b]), y: height - bottom + 18, "text-anchor": "middle", class: "tick" };
      svg.append(make("text", anchor, data.edges[b].toFixed(2)));
    }
    const below = { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle", class: "tick" };
    svg.append(make("text", below, "score (probability)"));
    shares.forEach((row, m) => {
      const steps = row.slice(0, filled).map((share, b) => `V${y(share)}H${x(data.edges[b + 1])}`).join("");
      svg.append(make("path", {
        d: `M${x(start)},${y(0)}${steps}V${y(0)}`,
        fill: "none",
        stroke: data.methods[m].color,
        "stroke-width": data.methods[m].dashes === "none" ? 2.6 : 2,
        "stroke-dasharray": data.methods[m].dashes,
      }));
    });
    return svg;
  }
}
