"""Every text of the pages of lessons against what lies behind it, as Chromium computes both: at least 4.5 to 1."""

import pytest

pages = pytest.importorskip("lesson_pages", reason="pages need jinja2 and matplotlib: pip install -e '.[report]'")
textbook, made, records, addresses, opened = (
    pages.textbook,
    pages.made,
    pages.records,
    pages.addresses,
    pages.opened,
)

#: Texts whose contrast is below 4.5. What is disabled or for screen readers only is left out; of a block of the figure
#: the ground is its box.
TOO_FAINT = """() => {
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const remembered = (f, known = new Map()) => (x) => known.get(x) ?? known.set(x, f(x)).get(x);
  const rgba = remembered((color) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = color;
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  });
  const over = (above, below) => [0, 1, 2].map((i) => above[i] * above[3] + below[i] * (1 - above[3])).concat(1);
  const linear = (v) => (v <= 10 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const contrast = (a, b) => {
    const [less, more] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (more + 0.05) / (less + 0.05);
  };
  const groundOf = remembered((element) => {
    const style = getComputedStyle(element);
    const body = rgba(getComputedStyle(document.body).backgroundColor);
    const box = element.closest(".node")?.querySelector(".box");
    const seen = box ? getComputedStyle(box) : null;
    if (seen) return over([...rgba(seen.fill).slice(0, 3), Number(seen.opacity)], body);
    return over(rgba(style.backgroundColor), element.parentElement ? groundOf(element.parentElement) : body);
  });
  const opacityOf = remembered((element) =>
    element ? Number(getComputedStyle(element).opacity) * opacityOf(element.parentElement) : 1);
  const hidden = ".visually-hidden, .skip, script, style, option, noscript, title";
  const aside = `${hidden}, .edge-label, :disabled, [aria-disabled=true]`;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim();
    const element = walker.currentNode.parentElement;
    if (!text || element.closest(aside) || !element.checkVisibility({ visibilityProperty: true })) continue;
    const style = getComputedStyle(element);
    const color = rgba(element.closest("svg") ? style.fill : style.color);
    const opacity = color[3] * opacityOf(element);
    const ground = groundOf(element);
    const ratio = contrast(over([...color.slice(0, 3), opacity], ground), ground);
    found.push([ratio, text]);
  }
  if (found.length < 40) throw new Error("hardly any text");
  return found.filter(([ratio]) => ratio < 4.5);
}"""
STATES = {
    "inspection": ("", "#group=1", "#mask=off", "#mask=off&group=0", "#block=user.2", "#block=head.Q[1]"),
    "trace": ("", "#step=45&group=1", "#step=45&row=Ann", "#step=50&mask=off", "#step=140", "#step=200"),
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", STATES)
def test_every_text_stands_out_from_its_ground(opened, name, scheme):
    page = opened(name, color_scheme=scheme)
    for fragment in STATES[name]:
        pages.go_to(page, fragment)
        assert page.evaluate(TOO_FAINT) == [], fragment
