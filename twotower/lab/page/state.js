// What the page shows is one flat state. It lives in the address after #, so that a link leads to the same view.
const FIRST = { mask: document.body.dataset.opens, group: null, block: null, row: null, show: "norm", step: 0, theme: null, type: null };

/** A state that tells its listeners when it changes, and the address what it is. */
function makeState(allowed) {
  const listeners = [];
  let state = { ...FIRST, ...allowed(fromAddress()) };

  function set(changes) {
    const before = state;
    state = { ...state, ...allowed({ ...state, ...changes }) };
    if (Object.keys(FIRST).every((key) => before[key] === state[key])) return;
    history.replaceState(null, "", toAddress(state));
    listeners.forEach((listener) => listener(state, before));
  }

  // a link within the page, or an address typed by hand
  window.addEventListener("hashchange", () => set({ ...FIRST, ...fromAddress() }));
  return { get: () => state, set, listen: (listener) => listeners.push(listener) };
}

function fromAddress() {
  const found = {};
  for (const [key, value] of new URLSearchParams(location.hash.slice(1))) {
    if (key in FIRST) found[key] = key === "group" || key === "step" ? Number(value) : value;
  }
  return found;
}

function toAddress(state) {
  const kept = Object.entries(state).filter(([key, value]) => value !== FIRST[key] && value !== null);
  const text = new URLSearchParams(kept).toString();
  return text ? `#${text}` : location.pathname + location.search;
}

/** The value if it is one of those, else what stands for nothing. */
function oneOf(value, values, otherwise = null) {
  return values.includes(value) ? value : otherwise;
}

/** Light or dark, and the size of type: by the system until somebody presses the button. */
function followComfort(state) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  function show() {
    const { theme, type } = state.get();
    const isDark = theme ? theme === "dark" : dark.matches;
    document.documentElement.dataset.theme = isDark ? "dark" : "light";
    document.documentElement.dataset.type = type ?? "";
    byId("theme").setAttribute("aria-pressed", String(isDark));
    byId("size").setAttribute("aria-pressed", String(type === "large"));
  }
  byId("theme").addEventListener("click", () => {
    const wanted = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    state.set({ theme: wanted === (dark.matches ? "dark" : "light") ? null : wanted });
  });
  byId("size").addEventListener("click", () => state.set({ type: state.get().type ? null : "large" }));
  dark.addEventListener("change", show);
  state.listen(show);
  show();
}

/** The switch of the mask and the choice of a group, which both kinds of page have. */
function followControls(state, groups) {
  const mask = byId("mask");
  mask.addEventListener("click", () => state.set({ mask: state.get().mask === "on" ? "off" : "on" }));
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  const chooser = groups.length > 6 ? chooseFromList(groups) : chooseFromChips(groups);
  byId("group-chips").append(...chooser.parts);
  chooser.listen((group) => state.set({ group, row: null }));
  function show() {
    mask.setAttribute("aria-checked", String(state.get().mask === "on"));
    byId("mask-state").textContent = state.get().mask;
    document.body.dataset.mask = state.get().mask;
    chooser.show(state.get().group);
  }
  state.listen(show);
  show();

  byId("skip").addEventListener("click", (event) => {
    // the address is the state's
    event.preventDefault();
    byId("main").focus();
  });
}

function chooseFromChips(groups) {
  const chip = (value, label) => {
    const input = make("input", { type: "radio", name: "group", value });
    return make("label", { class: value === "" ? "chip" : "chip own" }, input, label);
  };
  const parts = [chip("", "all groups"), ...groups.map((group, k) => chip(String(k), `${k} ${group.name}`))];
  const inputs = parts.map((part) => part.firstElementChild);
  return {
    parts,
    listen: (chosen) => inputs.forEach((input) => input.addEventListener("change", () => chosen(groupOf(input.value)))),
    show: (group) =>
      inputs.forEach((input) => {
        input.checked = groupOf(input.value) === group;
      }),
  };
}

function chooseFromList(groups) {
  const list = make("select", { "aria-label": "Group" }, make("option", { value: "" }, "all groups"));
  list.append(...groups.map((group, k) => make("option", { value: String(k) }, `${k} ${group.name}`)));
  return {
    parts: [list],
    listen: (chosen) => list.addEventListener("change", () => chosen(groupOf(list.value))),
    show: (group) => {
      list.value = group === null ? "" : String(group);
    },
  };
}

function groupOf(value) {
  return value === "" ? null : Number(value);
}
