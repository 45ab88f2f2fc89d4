// Forward and backward through the steps: buttons, a slider, arrow keys, and the stages as landmarks.
const PACE = 1600; // milliseconds a step, while it plays

/** Build the stepper; `go(place)` is called with a wanted place from 0. Returns how to show one. */
function makeStepper(holder, go) {
  const button = (id, sign, label) => make("button", { type: "button", id, "aria-label": label }, sign);
  const first = button("first", "|◀", "first step");
  const back = button("back", "◀", "step back");
  const play = make("button", { type: "button", id: "play", "aria-pressed": "false" }, "Play");
  const next = button("next", "▶", "step forward");
  const last = button("last", "▶|", "last step");
  const slider = make("input", { type: "range", id: "slider", min: "1", "aria-label": "step" });
  const stages = make("div", { class: "stages", role: "group", "aria-label": "Stages" });
  holder.append(
    make("div", { class: "buttons" }, first, back, play, next, last),
    make("div", { class: "track" }, slider, stages),
  );
  let steps = [];
  let place = 0;
  let timer = null;

  const moves = new Map([
    [first, () => 0],
    [back, () => place - 1],
    [next, () => place + 1],
    [last, () => steps.length - 1],
  ]);
  for (const [each, target] of moves)
    each.addEventListener("click", () => {
      stop();
      move(target());
    });
  slider.addEventListener("input", () => {
    stop();
    move(Number(slider.value) - 1);
  });
  play.addEventListener("click", () => (timer === null ? start() : stop()));
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.target.closest("input, select, svg, #outline")) return; // their arrow keys are their own
    const target = { ArrowLeft: place - 1, ArrowRight: place + 1 }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    stop();
    move(target);
  });

  function move(target) {
    if (target >= 0 && target < steps.length) go(target);
  }

  function start() {
    if (place === steps.length - 1) move(0);
    timer = setInterval(() => (place < steps.length - 1 ? move(place + 1) : stop()), PACE);
    tellPlay();
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    tellPlay();
  }

  function tellPlay() {
    play.textContent = timer === null ? "Play" : "Pause";
    play.setAttribute("aria-pressed", String(timer !== null));
  }

  function showStages() {
    stages.replaceChildren(
      ...landmarks(steps).map(({ name, kind, from, count }) => {
        const made = make(
          "button",
          { type: "button", "data-stage": kind, "data-from": from, style: `flex-grow:${count}` },
          name,
        );
        made.addEventListener("click", () => {
          stop();
          move(from);
        });
        return made;
      }),
    );
  }

  return (allSteps, now) => {
    if (steps !== allSteps) {
      steps = allSteps;
      showStages();
    }
    place = now;
    const step = steps[place];
    slider.max = steps.length;
    slider.value = place + 1;
    slider.setAttribute("aria-valuetext", `step ${place + 1} of ${steps.length}: ${step.stage}, ${step.name}`);
    for (const [each, target] of moves)
      each.setAttribute("aria-disabled", String(target() === place || target() < 0 || target() >= steps.length));
    const reached = [...stages.children].filter((each) => Number(each.dataset.from) <= place).at(-1);
    for (const each of stages.children) {
      if (each === reached) each.setAttribute("aria-current", "step");
      else each.removeAttribute("aria-current");
    }
  };
}

/** Stretches of steps that belong together: towers forward, a turn for each group, towers backward, Adam; or finer. */
function landmarks(steps, finer = () => "") {
  const found = [];
  steps.forEach((step, place) => {
    const kind = step.stage === "adam" ? "adam" : isNumber(step.group) ? "head" : step.stage;
    const name = ({ adam: "Adam", head: `group ${step.group}` }[kind] ?? step.stage) + finer(step);
    const last = found.at(-1);
    if (last?.name === name) last.count += 1;
    else found.push({ name, kind, from: place, count: 1 });
  });
  return found;
}
