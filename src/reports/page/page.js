"use strict";

// Tables are sorted within their groups; a second press turns the order round.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.querySelectorAll("thead th")];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const numbers = head.classList.contains("number");
      const old = head.getAttribute("aria-sort");
      const order = old === null ? (numbers ? "descending" : "ascending") : old === "ascending" ? "descending" : "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const key = (row) => {
        const cell = row.cells[column];
        return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
      };
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (typeof x === "number" && typeof y === "number") return sign * (x - y);
        if (typeof x === "number") return -1; // what has no number comes last
        if (typeof y === "number") return 1;
        return sign * x.localeCompare(y);
      };
      for (const body of table.tBodies) {
        const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
        body.append(...rows.sort(compare));
      }
    });
  });
}

// The samples: all in memory, fifty at a time in the page.
const data = document.getElementById("data");
if (data) {
  const PAGE = 50;
  const sets = JSON.parse(data.textContent);
  const [list, count, where] = ["list", "count", "page"].map((id) => document.getElementById(id));
  const [set, which, query] = ["set", "which", "query"].map((id) => document.getElementById(id));
  const steps = [...document.querySelectorAll("[data-step]")];
  let found = [];
  let page = 0;

  const name = (labels, value) => (value === null ? "-" : typeof value === "number" && labels[value] ? labels[value] : String(value));
  const add = (parent, tag, text, className) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    parent.append(element);
    return element;
  };
  // What is searched, made when it is first needed.
  const words = (of) => {
    of.words ??= of.rows.map(([, guid, target, answer, , , prompt, candidates]) =>
      [guid, name(of.labels, target), name(of.labels, answer), prompt ?? "", ...(candidates ?? [])].join("\n").toLowerCase());
    return of.words;
  };

  function search() {
    const of = sets[set.value];
    const wanted = query.value.trim().toLowerCase();
    const fits = {
      all: () => true, right: (row) => row[4] === true, wrong: (row) => row[4] === false, failed: (row) => row[3] === "failed",
    }[which.value];
    const texts = wanted ? words(of) : null;
    found = of.rows.filter((row, i) => fits(row) && (!texts || texts[i].includes(wanted)));
    page = 0;
    show();
  }

  function show() {
    const of = sets[set.value];
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    const right = found.filter((row) => row[4]).length;
    count.textContent = `${found.length} of ${of.rows.length} samples, ${right} of them right`;
    where.textContent = `Page ${page + 1} of ${pages}`;
    steps.forEach((step) => { step.disabled = page + Number(step.dataset.step) < 0 || page + Number(step.dataset.step) >= pages; });
    const body = document.createElement("tbody");
    for (const [, guid, target, answer, isRight, scores, prompt, candidates] of found.slice(page * PAGE, (page + 1) * PAGE)) {
      const row = add(body, "tr");
      add(row, "th", guid).scope = "row";
      add(row, "td", prompt ?? "not logged");
      const shown = add(add(row, "td"), "ul");
      const labelled = of.labels.length === scores.length;
      scores.forEach((score, i) => {
        const item = add(shown, "li", undefined, i === answer ? "chosen" : "");
        const word = candidates?.[i]?.trim();
        add(item, "span", labelled ? (word ? `${of.labels[i]} (${word})` : of.labels[i]) : word ?? `candidate ${i + 1}`);
        add(item, "span", score === null ? "-" : score.toFixed(2));
      });
      add(row, "td", name(of.labels, target));
      add(row, "td", name(of.labels, answer));
      const verdict = isRight === null ? "unknown" : isRight ? "✓ right" : "✗ wrong";
      add(row, "td", verdict, isRight === null ? "" : isRight ? "right" : "wrong");
    }
    list.tBodies[0].replaceWith(body);
  }

  let waiting;
  query.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(search, 120); });
  for (const input of [set, which]) input.addEventListener("change", search);
  document.getElementById("browser").addEventListener("submit", (event) => { event.preventDefault(); search(); });
  steps.forEach((step) => step.addEventListener("click", () => { page += Number(step.dataset.step); show(); }));
  search();
}
