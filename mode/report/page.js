// Filters and sorts the rows that are there. Without it the page says the same, worst first.
"use strict";
(() => {
  const body = document.querySelector(".rules tbody");
  if (!body) return;
  const rows = [...body.rows].map((row, urgency) => ({ row, urgency, text: null }));
  const filters = [...document.querySelectorAll("[data-filter]")];
  const search = document.querySelector("[data-search]");
  const status = document.querySelector("[data-status]");
  const none = document.querySelector("[data-none]");
  const heads = [...document.querySelectorAll("thead th")];
  const sortBy = document.querySelector("[data-sort-by]");
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  const cell = (index) => (each) => each.row.cells[index].textContent.trim();
  const keys = { urgency: (each) => each.urgency };
  heads.forEach((head, index) => {
    keys[head.dataset.key] ??= head.dataset.key === "bytes" ? (each) => -each.row.cells[index].dataset.bytes : cell(index);
  });

  const counted = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = filters.filter((each) => each.value).map((each) => [each.dataset.filter, each.value]);
    const groups = new Set();
    let shown = 0;
    for (const each of rows) {
      if (words.length) each.text ??= each.row.textContent.toLowerCase();
      const fits = chosen.every(([name, value]) => each.row.dataset[name] === value)
        && words.every((word) => each.text.includes(word));
      if (each.row.hidden === fits) each.row.hidden = !fits;
      if (!fits) continue;
      shown += 1;
      groups.add(each.row.dataset.group);
    }
    const all = shown === rows.length ? "" : `${shown.toLocaleString("en")} of `;
    status.textContent = `${all}${counted(rows.length, "rule")} in ${counted(groups.size, "group")}`;
    none.hidden = shown > 0;
  }

  function sort(key, descending) {
    const value = new Map(rows.map((each) => [each, keys[key](each)]));
    const compare = (one, other) => typeof value.get(one) === "number"
      ? value.get(one) - value.get(other) : collator.compare(value.get(one), value.get(other));
    const sorted = [...rows].sort((one, other) => (descending ? -1 : 1) * compare(one, other) || one.urgency - other.urgency);
    body.append(...sorted.map((each) => each.row));
    for (const head of heads) {
      head.removeAttribute("aria-sort");
      if (head.dataset.key === key) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    }
    sortBy.value = key;
  }

  let asked = 0;
  const soon = () => { cancelAnimationFrame(asked); asked = requestAnimationFrame(filter); };
  search.addEventListener("input", soon);
  filters.forEach((each) => each.addEventListener("change", filter));
  sortBy.addEventListener("change", () => sort(sortBy.value, false));
  document.querySelector("[data-reset]").addEventListener("click", () => {
    search.value = "";
    filters.forEach((each) => { each.value = ""; });
    sort("urgency", false);
    filter();
  });
  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => sort(head.dataset.key, head.getAttribute("aria-sort") === "ascending"));
    head.replaceChildren(button);
    sortBy.add(new Option(head.textContent, head.dataset.key));
  }
  heads[0].setAttribute("aria-sort", "ascending");
  document.querySelector(".filters").hidden = false;
})();
