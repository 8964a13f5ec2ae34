/* A shaded number shows its record on hover, focus and tap; Escape closes it. */
document.addEventListener("DOMContentLoaded", () => {
  const numbers = document.querySelectorAll("abbr.record[data-details]");
  if (!numbers.length) return;
  const pop = document.createElement("div");
  pop.id = "record-pop";
  pop.setAttribute("role", "dialog");
  pop.setAttribute("aria-label", say("Record"));
  pop.hidden = true;
  document.body.append(pop);
  let shown = null;
  let timer = 0;

  function close() {
    shown?.setAttribute("aria-expanded", "false");
    pop.hidden = true;
    shown = null;
  }
  function open(number) {
    clearTimeout(timer);
    if (shown === number) return;
    close();
    shown = number;
    const text = document.createElement("span");
    text.textContent = number.dataset.details;
    pop.replaceChildren(text);
    if (number.dataset.cell) {
      const link = document.createElement("a");
      link.href = number.dataset.cell;
      link.textContent = say("The cell that recorded it");
      link.addEventListener("click", close);
      pop.append(link);
    }
    pop.hidden = false;
    pop.style.left = "0"; /* so that its width is not cut by the old place */
    number.after(pop); /* the link is the next stop of the Tab key */
    number.setAttribute("aria-expanded", "true");
    const box = number.getBoundingClientRect();
    const left = Math.min(box.left, innerWidth - pop.offsetWidth - 8);
    pop.style.left = `${Math.max(8, left)}px`;
    const below = box.bottom + 4;
    const fits = below + pop.offsetHeight < innerHeight;
    pop.style.top = `${fits ? below : box.top - pop.offsetHeight - 4}px`;
  }
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(close, 250);
  };
  const within = (target) => pop.contains(target) || shown?.contains(target);

  for (const number of numbers) {
    number.removeAttribute("title");
    number.tabIndex = 0;
    number.setAttribute("role", "button");
    number.setAttribute("aria-haspopup", "dialog");
    number.setAttribute("aria-expanded", "false");
    number.addEventListener("mouseenter", () => open(number));
    number.addEventListener("mouseleave", later);
    number.addEventListener("focus", () => open(number));
    number.addEventListener("click", () => open(number));
    number.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      open(number);
    });
  }
  pop.addEventListener("mouseenter", () => clearTimeout(timer));
  pop.addEventListener("mouseleave", later);
  document.addEventListener("focusin", (event) => within(event.target) || close());
  document.addEventListener("click", (event) => within(event.target) || close());
  document.addEventListener("keydown", (event) => event.key === "Escape" && close());
  addEventListener("scroll", close, { passive: true });
});
