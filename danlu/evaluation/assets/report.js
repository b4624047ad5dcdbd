"use strict";
// Sorting and filtering of what stands on the page. Nothing is written as markup.
(() => {
  const STEP = 20;
  const collator = new Intl.Collator(undefined, { numeric: true });
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Tables: a click on a heading sorts the rows of task types; areas stay on top.
  for (const table of all("table.sortable")) {
    const body = table.tBodies[0];
    const first = [...body.rows];
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => {
      if (!heading.dataset.sort) return;
      heading.querySelector("button").addEventListener("click", () => {
        const now = heading.getAttribute("aria-sort");
        const start = heading.dataset.sort === "number" ? "descending" : "ascending";
        const other = start === "ascending" ? "descending" : "ascending";
        const next = now === null ? start : now === start ? other : null;
        headings.forEach((one) => one.removeAttribute("aria-sort"));
        table.classList.toggle("sorted", next !== null);
        if (next === null) return body.append(...first);
        heading.setAttribute("aria-sort", next);
        const value = (row) => row.cells[column].dataset.value;
        const sign = next === "ascending" ? 1 : -1;
        const compare = heading.dataset.sort === "number"
          ? (one, two) => Number(value(one)) - Number(value(two))
          : (one, two) => collator.compare(value(one), value(two));
        const leaves = first.filter((row) => !row.classList.contains("branch"));
        const branches = first.filter((row) => row.classList.contains("branch"));
        body.append(...branches, ...leaves.sort((one, two) => sign * compare(one, two)));
      });
    });
  }

  // Filters: by task type everything, by text the prompts.
  const type = document.getElementById("type-filter");
  const text = document.getElementById("text-filter");
  const told = document.getElementById("filter-count");
  const sections = all("section.cases").map((section) => ({
    section, cards: all(".case", section), more: section.querySelector(".more"), shown: STEP,
  }));
  const contents = new Map();

  function matches(card, wanted, words) {
    if (wanted && card.dataset.type !== wanted) return false;
    if (!words) return true;
    if (!contents.has(card)) contents.set(card, card.textContent.toLowerCase());
    return contents.get(card).includes(words);
  }

  function update() {
    const wanted = type ? type.value : "", words = text ? text.value.trim().toLowerCase() : "";
    for (const one of all("tr[data-type], .cause[data-type]")) one.hidden = Boolean(wanted) && one.dataset.type !== wanted;
    let found = 0;
    for (const part of sections) {
      const fitting = part.cards.filter((card) => matches(card, wanted, words));
      const visible = new Set(fitting.slice(0, part.shown));
      found += fitting.length;
      for (const card of part.cards) card.hidden = !visible.has(card);
      if (part.more) part.more.hidden = fitting.length <= part.shown;
    }
    if (told) told.textContent = wanted || words ? `${found} prompt${found === 1 ? "" : "s"}` : "";
  }

  if (type) type.addEventListener("change", () => { for (const part of sections) part.shown = STEP; update(); });
  if (text) text.addEventListener("input", update);
  for (const part of sections) {
    if (part.more) part.more.addEventListener("click", () => { part.shown += STEP; update(); });
    const order = part.section.querySelector(".case-sort");
    const first = part.cards;
    if (order) order.addEventListener("change", () => {
      const by = order.value;
      part.cards = by === "change" ? first
        : [...first].sort((one, two) => collator.compare(one.dataset[by], two.dataset[by]));
      for (const card of part.cards) part.section.insertBefore(card, part.more || part.section.querySelector(":scope > p.hint"));
      update();
    });
  }
  update();
})();
