/* The ledger: filter, search, permalinks. Without it the whole table is shown. */
document.addEventListener("DOMContentLoaded", () => {
  const table = document.getElementById("ledger-table");
  const place = document.getElementById("ledger-controls");
  if (!table || !place) return;
  const rows = [...table.querySelectorAll("tr.claim")];
  const runs = (row) => row.dataset.falls.split("|").filter(Boolean);
  const unique = (values) => [...new Set(values)];

  const label = (text, control) => {
    const made = document.createElement("label");
    made.append(text + " ", control);
    place.append(made);
    control.addEventListener("input", show);
    return control;
  };
  const select = (text, values) => {
    const made = document.createElement("select");
    made.append(new Option(say("all"), ""));
    for (const [value, name] of values) made.append(new Option(name, value));
    return label(text, made);
  };
  const box = document.createElement("input");
  box.type = "search";
  const search = label(say("Search"), box);
  const verdict = select(say("Verdict"), unique(rows.map((r) => r.dataset.verdict))
    .map((v) => [v, say(v.replaceAll("-", " "))]));
  const section = select(say("Section"), unique(rows.map((r) => r.dataset.section))
    .map((s) => [s, s]));
  const falls = select(say("Falls on"), table.dataset.runs.split("|").map((n) => [n, n]));
  const count = document.createElement("output");
  count.setAttribute("aria-live", "polite");
  place.append(count);

  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !(
        words.every((word) => text.includes(word)) &&
        (!verdict.value || row.dataset.verdict === verdict.value) &&
        (!section.value || row.dataset.section === section.value) &&
        (!falls.value || runs(row).includes(falls.value)));
      shown += !row.hidden;
    }
    count.textContent = say("{shown} of {all} claims",
      { shown, all: rows.length });
  }
  function open() {
    const id = decodeURIComponent(location.hash.slice(1));
    const row = id && document.getElementById(id)?.closest("tr.claim");
    if (!row) return;
    if (row.hidden) {
      search.value = verdict.value = section.value = falls.value = "";
      show();
    }
    row.querySelector("details").open = true;
    row.scrollIntoView();
  }
  for (const row of rows) {
    const anchor = row.querySelector('[id^="claim-"]');
    if (!anchor) continue;
    const link = document.createElement("a");
    link.href = "#" + anchor.id;
    link.className = "permalink";
    link.textContent = "#";
    link.setAttribute("aria-label", say("Link to this claim"));
    row.cells[0].append(" ", link);
  }
  addEventListener("hashchange", open);
  matchMedia("print").addEventListener("change", (print) => {
    if (!print.matches) return show();
    for (const row of rows) {
      row.hidden = false;
      row.querySelector("details").open = true;
    }
  });
  show();
  open();
});
