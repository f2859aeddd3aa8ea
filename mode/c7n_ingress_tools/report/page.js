// Filters and sorts the rows that are there. Without it the page says the same, worst first.
"use strict";
(() => {
  const table = document.querySelector(".rules");
  if (!table) return;
  const rowsAPart = 50;
  const rows = [...table.querySelectorAll("tbody tr")].map((row, urgency) => ({ row, urgency, text: null }));
  let sorted = rows;
  const filters = [...document.querySelectorAll("[data-filter]")];
  const search = document.querySelector("[data-search]");
  const status = document.querySelector("[data-status]");
  const none = document.querySelector("[data-none]");
  const heads = [...table.querySelectorAll("thead th")];
  const places = [...document.querySelectorAll(".places tbody tr")];
  const sortBy = document.querySelector("[data-sort-by]");
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  // What a column is sorted by, for all rows at once.
  const cell = (index) => ({ row }) => row.cells[index].textContent.trim();
  const bytes = (index) => ({ row }) => -row.cells[index].dataset.bytes;
  const keys = Object.fromEntries(heads.map(({ dataset: { key } }, index) => [
    key, key === "urgency" ? (each) => each.urgency : (key === "bytes" ? bytes : cell)(index),
  ]));

  const counted = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = filters.filter((each) => each.value).map((each) => [each.dataset.filter, each.value]);
    if (words.length) for (const each of rows) each.text ??= each.row.textContent.toLowerCase();
    const shown = sorted.filter((each) => chosen.every(([name, value]) => each.row.dataset[name] === value)
      && words.every((word) => each.text.includes(word)));
    const parts = [];
    for (let start = 0; start < shown.length; start += rowsAPart) {
      const part = document.createElement("tbody");
      part.append(...shown.slice(start, start + rowsAPart).map((each) => each.row));
      parts.push(part);
    }
    for (const part of [...table.tBodies]) part.remove();
    table.append(...parts);
    const all = shown.length === rows.length ? "" : `${shown.length.toLocaleString("en")} of `;
    const groups = new Set(shown.map(({ row: { dataset: { account, region, group } } }) => `${account} ${region} ${group}`));
    status.textContent = `${all}${counted(rows.length, "rule")} in ${counted(groups.size, "group")}`;
    none.hidden = shown.length > 0;
    for (const each of places) {
      each.hidden = chosen.some(([name, value]) => name in each.dataset && each.dataset[name] !== value);
    }
    remember();
  }

  // The address of a filtered view: what is chosen is after its #, which a browser sends to nobody.
  function remember() {
    const chosen = new URLSearchParams();
    for (const { dataset, value } of filters) if (value) chosen.set(dataset.filter, value);
    if (search.value) chosen.set("search", search.value);
    const head = heads.find((each) => each.hasAttribute("aria-sort"));
    if (head.dataset.key !== "urgency" || isDescending(head)) chosen.set(isDescending(head) ? "down" : "up", head.dataset.key);
    const address = chosen.size ? `#${chosen}` : "";
    if (location.hash !== address) history.replaceState(null, "", location.href.split("#")[0] + address);
  }

  function recall() {
    const chosen = new URLSearchParams(location.hash.slice(1));
    search.value = chosen.get("search") ?? "";
    for (const each of filters) {
      const wanted = chosen.get(each.dataset.filter);
      each.value = [...each.options].some(({ value }) => value === wanted) ? wanted : "";
    }
    const key = chosen.get("down") ?? chosen.get("up") ?? "urgency";
    sort(Object.hasOwn(keys, key) ? key : "urgency", Object.hasOwn(keys, key) && chosen.has("down"));
  }

  const isDescending = (head) => head.getAttribute("aria-sort") === "descending";

  function sort(key, descending) {
    const value = new Map(rows.map((each) => [each, keys[key](each)]));
    const compare = (one, other) => typeof one === "number" ? one - other : collator.compare(one, other);
    const sign = descending ? -1 : 1;
    sorted = [...rows].sort((one, other) => sign * compare(value.get(one), value.get(other)) || one.urgency - other.urgency);
    for (const head of heads) {
      head.removeAttribute("aria-sort");
      if (head.dataset.key === key) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    }
    sortBy.value = key;
    show();
  }

  let asked = 0;
  const soon = () => { cancelAnimationFrame(asked); asked = requestAnimationFrame(show); };
  search.addEventListener("input", soon);
  filters.forEach((each) => each.addEventListener("change", show));
  sortBy.addEventListener("change", () => sort(sortBy.value, false));
  document.querySelector("[data-reset]").addEventListener("click", () => {
    search.value = "";
    filters.forEach((each) => { each.value = ""; });
    sort("urgency", false);
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
  if (location.hash) recall();
  addEventListener("hashchange", recall);
  document.querySelector(".filters").hidden = false;
})();
