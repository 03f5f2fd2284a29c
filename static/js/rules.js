// Alt and an arrow move the rule that is focused: at once on the page, and a moment later in the draft, by the form
// that the row has for it. Keys that come while that is under way count on from where the rule stands by then.
"use strict";
(() => {
  const REST_MS = 250;
  let moving = null; // the row's id, while its new place is not sent yet
  let timer = 0;
  let asking = null; // the request whose answer draws the board anew
  let asked = null; // the row that it moves: what is pressed while the focus is lost with the old board is for this one
  let owed = []; // what is pressed until the new board is there: rows' ids and keys

  const rows = () => [...document.querySelectorAll("#rules > [data-rule]")];

  const number = () => {
    rows().forEach((row, index) => (row.querySelector(".place").textContent = index + 1));
  };

  const send = () => {
    const row = document.getElementById(moving);
    moving = null;
    const form = row?.querySelector("[data-mover]");
    if (!form) return;
    asked = row.id;
    form.elements.place.value = rows().indexOf(row) + 1;
    form.querySelector("[value=place]").click();
  };

  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(() => (asking ? later() : send()), REST_MS);
  };

  const step = (row, key) => {
    const all = rows();
    const other = all[all.indexOf(row) + (key === "ArrowUp" ? -1 : 1)];
    if (!other || (moving && moving !== row.id)) return;
    const focused = document.activeElement;
    if (key === "ArrowUp") other.before(row);
    else other.after(row);
    number();
    focused.focus(); // to be moved in the page takes it away
    row.scrollIntoView({ block: "nearest" });
    moving = row.id;
    later();
  };

  const settle = () => {
    const steps = owed;
    [asking, asked, owed] = [null, null, []];
    for (const [id, key] of steps) {
      const row = document.getElementById(id);
      if (row?.matches("[data-rule]")) step(row, key);
    }
  };

  document.addEventListener("keydown", (event) => {
    if (!event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
    const row = event.target.closest?.("#rules > [data-rule]");
    const id = row ? row.querySelector("[data-mover]") && row.id : asking && event.target === document.body && asked;
    if (!id) return;
    event.preventDefault();
    if (asking) owed.push([id, event.key]);
    else step(row, event.key);
  });

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.target?.id === "board") asking = event.detail.xhr;
  });
  document.addEventListener("htmx:afterRequest", ({ detail: { xhr, successful } }) => {
    if (xhr === asking && (!successful || xhr.status === 204)) settle(); // no new board comes
  });

  // What an act was about is where one goes on. `autofocus` in a part of a page is not heeded where something has focus.
  document.addEventListener("htmx:afterSettle", (event) => {
    document.querySelector("#board [data-focus]")?.focus();
    if (asking && event.detail.xhr === asking) settle();
  });

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
