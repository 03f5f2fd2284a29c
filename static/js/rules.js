// Alt and an arrow move the rule that is focused: at once on the page, and a moment later in the draft, by the form
// that the row has for it. Keys that come while that is under way count on from where the rule stands by then.
"use strict";
(() => {
  const REST_MS = 250;
  let moving = null; // the row's id, while its new place is not sent yet
  let timer = 0;
  let isAsking = false;

  const rows = () => [...document.querySelectorAll("#rules > [data-rule]")];

  const number = () => {
    rows().forEach((row, index) => (row.querySelector(".place").textContent = index + 1));
  };

  const send = () => {
    const row = document.getElementById(moving);
    moving = null;
    const form = row?.querySelector("[data-mover]");
    if (!form) return;
    form.elements.place.value = rows().indexOf(row) + 1;
    form.querySelector("[value=place]").click();
  };

  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(() => (isAsking ? later() : send()), REST_MS);
  };

  document.addEventListener("keydown", (event) => {
    if (!event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
    const row = event.target.closest?.("#rules > [data-rule]");
    if (!row || !row.querySelector("[data-mover]")) return;
    event.preventDefault();
    if (isAsking) return; // the board is about to be swapped
    const all = rows();
    const other = all[all.indexOf(row) + (event.key === "ArrowUp" ? -1 : 1)];
    if (!other || (moving && moving !== row.id)) return;
    const focused = document.activeElement;
    if (event.key === "ArrowUp") other.before(row);
    else other.after(row);
    number();
    focused.focus(); // to be moved in the page takes it away
    row.scrollIntoView({ block: "nearest" });
    moving = row.id;
    later();
  });

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.target?.id === "board") isAsking = true;
  });
  for (const end of ["htmx:afterRequest", "htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(end, () => (isAsking = false));
  }

  // What an act was about is where one goes on. `autofocus` in a part of a page is not heeded where something has focus.
  document.addEventListener("htmx:afterSettle", () => document.querySelector("#board [data-focus]")?.focus());

  // What is typed while the fields of another fact are fetched stays.
  let typed = new Map();
  const texts = "#conditions :is(input[type=text], textarea)";
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target.id !== "conditions") return;
    typed = new Map();
    if (!event.detail.requestConfig.elt.matches("select")) return; // rows were added or taken away
    for (const field of document.querySelectorAll(texts)) typed.set(field.name, field.value);
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id !== "conditions") return;
    for (const field of document.querySelectorAll(texts)) field.value = typed.get(field.name) ?? field.value;
  });

  // What is typed of how `auto` chooses, and not saved, stays when another act draws the board anew.
  const unsaved = new Map();
  const fields = () => [...document.querySelectorAll("#auto form :is(input:not([type=hidden]))")];
  const isOption = (field) => field.type === "radio" || field.type === "checkbox";
  const keyOf = (field) => (isOption(field) ? `${field.name} ${field.value}` : field.name);
  const isChanged = (field) =>
    isOption(field) ? field.checked !== field.defaultChecked : field.value !== field.defaultValue;
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target.id !== "board") return;
    unsaved.clear();
    if (event.detail.requestConfig.parameters?.act === "discard") return;
    for (const field of fields().filter(isChanged)) {
      unsaved.set(keyOf(field), isOption(field) ? field.checked : field.value);
    }
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const field of fields().filter((one) => unsaved.has(keyOf(one)))) {
      field[isOption(field) ? "checked" : "value"] = unsaved.get(keyOf(field));
      field.dispatchEvent(new Event("input", { bubbles: true }));
    }
    unsaved.clear();
  });

  // The slider says where it stands.
  document.addEventListener("input", (event) => {
    const shown = document.getElementById(event.target.dataset?.shows ?? "");
    if (shown) shown.textContent = `${event.target.value}\u202f%`;
  });
})();
