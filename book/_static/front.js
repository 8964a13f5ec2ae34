// The Pareto front of 7.1: hover, focus or tap names a configuration; a list filters by case.
// Reads the JSON beside the static figure, which stays for print and without a script.
(() => {
  const NS = "http://www.w3.org/2000/svg";
  const make = (name, attributes, parent) => {
    const node = document.createElementNS(NS, name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    parent.append(node);
    return node;
  };
  const number = (x) => (x >= 100 ? x.toFixed(0) : x.toPrecision(3));

  function draw(box, question, named) {
    const points = JSON.parse(box.dataset.points).filter((p) => p.question === question);
    const svg = box.querySelector("svg");
    svg.replaceChildren();
    const [wide, high, left, right, top, bottom] = [700, 360, 60, 20, 16, 46];
    const log = points.map((p) => Math.log10(p.ms));
    const [x0, x1] = [Math.min(...log) - 0.15, Math.max(...log) + 0.15];
    const all = points.map((p) => p.quality);
    const pad = (Math.max(...all) - Math.min(...all)) * 0.1 || 0.05;
    const [y0, y1] = [Math.min(...all) - pad, Math.max(...all) + pad];
    const x = (ms) => left + ((Math.log10(ms) - x0) / (x1 - x0)) * (wide - left - right);
    const y = (q) => high - bottom - ((q - y0) / (y1 - y0)) * (high - top - bottom);
    const text = (words, at) => {
      make("text", at, svg).textContent = words;
    };
    make("path", { class: "front-axis", fill: "none",
      d: `M${left} ${top}V${high - bottom}H${wide - right}` }, svg);
    for (let e = Math.ceil(x0 * 3) / 3; e <= x1; e += 1 / 3)
      text(number(10 ** e), { x: x(10 ** e), y: high - bottom + 18, "text-anchor": "middle" });
    for (let i = 0; i < 5; i++) {
      const q = y0 + ((y1 - y0) * i) / 4;
      text(q.toFixed(2), { x: left - 6, y: y(q) + 4, "text-anchor": "end" });
    }
    text(say("milliseconds for one request, p50"),
      { x: (wide + left) / 2, y: high - 6, "text-anchor": "middle" });
    text(say(points[0].metric), { x: left + 6, y: top + 6 });
    const ahead = points.filter((p) => p.front).sort((a, b) => a.ms - b.ms);
    make("path", { class: "front-line", fill: "none",
      d: ahead.map((p, i) =>
        i ? `H${x(p.ms)}V${y(p.quality)}` : `M${x(p.ms)} ${y(p.quality)}`).join("") }, svg);
    for (const p of [...points].sort((a, b) => a.ms - b.ms)) {
      const ends = p.low === null ? "" : ` [${p.low.toFixed(3)}, ${p.high.toFixed(3)}]`;
      const words = `${say(p.name)} (${say(p.kind)}): ${number(p.ms)} ms, ${say(p.metric)} ` +
        `${p.quality.toFixed(3)}${ends}${p.front ? say(", on the front") : ""}`;
      const dot = make("circle", { cx: x(p.ms), cy: y(p.quality), r: 7, tabindex: 0,
        role: "img", "aria-label": words, class: p.front ? "front-dot ahead" : "front-dot",
        fill: p.colour }, svg);
      for (const event of ["pointerenter", "focus", "click"])
        dot.addEventListener(event, () => {
          svg.querySelector(".chosen")?.classList.remove("chosen");
          dot.classList.add("chosen");
          named.textContent = words;
        });
    }
    named.textContent = say("Hover, focus or tap a point.");
  }

  function start(box) {
    const questions = [...new Set(JSON.parse(box.dataset.points).map((p) => p.question))];
    const label = document.createElement("label");
    label.append(say("Case "));
    const list = document.createElement("select");
    for (const q of questions) list.add(new Option(say(q), q));
    label.append(list);
    const named = document.createElement("p");
    named.setAttribute("role", "status");
    box.append(label);
    make("svg", { viewBox: "0 0 700 360", role: "group",
      "aria-label": say("Quality against milliseconds") }, box);
    box.append(named);
    list.addEventListener("change", () => draw(box, list.value, named));
    draw(box, list.value, named);
  }

  const ready = () => document.querySelectorAll(".pareto-front[data-points]").forEach(start);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", ready);
  else ready();
})();
