// The finder in the dialog: arrows go through what was found, Enter in the field goes to the first of it. And what is
// looked for anywhere stands in an address, where no whole key belongs: of one that is pasted its beginning stays.
"use strict";
(() => {
  const links = () => [...document.querySelectorAll("#dialog #found a")];

  document.addEventListener("keydown", (event) => {
    const finder = event.target.closest?.("#dialog .finder");
    if (!finder || (event.key !== "ArrowDown" && event.key !== "ArrowUp")) return;
    event.preventDefault();
    const all = [finder.querySelector("[name=q]"), ...links()];
    const next = all.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1);
    all[Math.min(Math.max(next, 0), all.length - 1)].focus();
  });

  document.addEventListener(
    "input",
    (event) => {
      const field = event.target;
      if (field.form?.method !== "get" || field.type === "password") return;
      const shown = field.value.replace(/orch_([a-z0-9]{10})_[\w-]{16,}/g, "$1");
      if (shown !== field.value) field.value = shown;
    },
    true, // before anybody sends it
  );

  // What is typed while the finder is on its way is meant for it, and is no key of the page.
  let early = null;
  const opens = (event) => event.detail.elt?.matches?.("[data-finder]");
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (opens(event)) early = "";
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (opens(event)) early = null; // it is there, or it does not come
  });
  document.addEventListener(
    "keydown",
    (event) => {
      if (early === null || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "Backspace") early = early.slice(0, -1);
      else if (event.key.length === 1) early += event.key;
      else return;
      event.preventDefault();
      event.stopImmediatePropagation();
    },
    true, // before it is taken for a key
  );
  document.addEventListener("htmx:afterSwap", (event) => {
    const field = event.detail.target?.id === "dialog" && document.querySelector("#dialog .finder [name=q]");
    if (field && early) field.value = early;
  });

  // What was typed before htmx listened.
  document.addEventListener("htmx:afterSettle", (event) => {
    const field = event.detail.target?.id === "dialog" && document.querySelector("#dialog .finder [name=q]");
    if (field && field.value) htmx.trigger(field, "typed");
  });

  document.addEventListener("submit", (event) => {
    const finder = event.target.closest("#dialog .finder");
    if (!finder) return;
    const found = finder.querySelector("#found");
    if (found?.dataset.of !== finder.elements.q.value.trim()) return; // not looked for yet: the page does it
    const [link] = links();
    if (!link) return;
    event.preventDefault();
    link.click();
  });
})();
