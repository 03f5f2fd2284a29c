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
  let next = null; // the button, or link, of an act that waits for that board, and what it stood for when pressed

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
    const [steps, pressed] = [owed, next];
    [asking, asked, owed, next] = [null, null, [], null];
    for (const [id, key] of steps) {
      const row = document.getElementById(id);
      if (row?.matches("[data-rule]")) step(row, key);
    }
    const button = document.getElementById(pressed?.id);
    if (button && button.value === pressed.value) button.click(); // pressed twice, a switch is not to go back
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
    const { target, xhr, elt, requestConfig } = event.detail;
    if (target?.id !== "board") return;
    if (!asking && !moving) {
      asking = xhr;
      return;
    }
    event.preventDefault();
    const { id, value } = requestConfig.triggeringEvent?.submitter ?? elt;
    next = { id, value };
    if (asking) return;
    clearTimeout(timer);
    send(); // the place that was to be sent a moment later
    if (!asking) settle();
  });
  document.addEventListener("htmx:afterRequest", ({ detail: { xhr, successful, requestConfig } }) => {
    if (xhr !== asking || (successful && xhr.status !== 204) || xhr.status === 422) return;
    // No new board comes, and what was moved stands where it is not.
    const wasMoved = asked && requestConfig.verb !== "get";
    settle();
    if (wasMoved && !asking) htmx.ajax("GET", location.href, { target: "#board", select: "#board", swap: "outerHTML" });
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
