// Forward and backward through the steps: buttons, a slider, arrow keys, and the stages as landmarks.
const STAGES = ["forward", "loss", "backward", "adam"];
const PACE = 1600; // milliseconds a step, while it plays

/** Build the stepper; `go(place)` is called with a wanted place from 0. Returns how to show one. */
function makeStepper(holder, go) {
  const button = (id, sign, label) => make("button", { type: "button", id, "aria-label": label }, sign);
  const first = button("first", "⏮", "first step");
  const back = button("back", "◀", "step back");
  const play = make("button", { type: "button", id: "play", "aria-pressed": "false" }, "Play");
  const next = button("next", "▶", "step forward");
  const last = button("last", "⏭", "last step");
  const slider = make("input", { type: "range", id: "slider", min: "1", "aria-label": "step" });
  const stages = make("div", { class: "stages", role: "group", "aria-label": "Stages" });
  holder.append(make("div", { class: "buttons" }, first, back, play, next, last), slider, stages);
  let steps = [];
  let place = 0;
  let timer = null;

  const moves = new Map([[first, () => 0], [back, () => place - 1], [next, () => place + 1], [last, () => steps.length - 1]]);
  for (const [each, target] of moves) each.addEventListener("click", () => { stop(); move(target()); });
  slider.addEventListener("input", () => { stop(); move(Number(slider.value) - 1); });
  play.addEventListener("click", () => (timer === null ? start() : stop()));
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.target.closest("input, select, svg, [role=region]")) return; // their arrow keys are their own
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
    stages.replaceChildren(...STAGES.filter((stage) => steps.some((step) => step.stage === stage)).map((stage) => {
      const from = steps.findIndex((step) => step.stage === stage);
      const made = make("button", { type: "button", "data-stage": stage, style: `flex-grow:${steps.filter((step) => step.stage === stage).length}` }, stage);
      made.addEventListener("click", () => { stop(); move(from); });
      return made;
    }));
  }

  return (allSteps, now) => {
    if (steps !== allSteps) { steps = allSteps; showStages(); }
    place = now;
    const step = steps[place];
    slider.max = steps.length;
    slider.value = place + 1;
    slider.setAttribute("aria-valuetext", `step ${place + 1} of ${steps.length}: ${step.stage}, ${step.name}`);
    for (const [each, target] of moves) each.setAttribute("aria-disabled", String(target() === place || target() < 0 || target() >= steps.length));
    for (const each of stages.children) {
      if (each.dataset.stage === step.stage) each.setAttribute("aria-current", "step");
      else each.removeAttribute("aria-current");
    }
  };
}
