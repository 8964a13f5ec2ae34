/* What the book's scripts say, in the language of the page (words.js has it), and the
   switch to the other edition, which opens at the block that is at the top here. */
function say(text, values = {}) {
  const said = window.bookWords?.[text] ?? text;
  return said.replace(/\{(\w+)\}/g, (blank, name) => values[name] ?? blank);
}
document.addEventListener("DOMContentLoaded", () => {
  const blocks = () => [
    ...document.querySelectorAll(
      "article :is(h1, h2, h3, h4, p, li, pre, figure, table, tr.claim, dd)"
    ),
  ].filter((block) => block.offsetParent);
  const top = 70; /* below the bar at the top */
  const link = document.querySelector("a.language-switch");
  link?.addEventListener("click", () => {
    const all = blocks();
    const first = all.findIndex((x) => x.getBoundingClientRect().bottom > top);
    link.hash = scrollY > 100 && first > 0 ? `at-${first}` : "";
  });
  const asked = /^#at-(\d+)$/.exec(location.hash);
  if (!asked) return;
  addEventListener("load", () => {
    const place = blocks()[asked[1]];
    const to = place && place.getBoundingClientRect().top + scrollY - top;
    if (place) scrollTo({ top: to, behavior: "instant" });
  });
});
