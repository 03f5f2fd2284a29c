// A form is sent once, until its page is shown anew: a second click would do it twice, and only the last answer is seen.
// What htmx or a script of the page sends goes past this.
"use strict";
(() => {
  const UNDER_WAY = "Under way…";
  const SAID_AFTER_MS = 100; // a reader hears what comes into a region that it knows
  const sent = new Map(); // forms, each with what sets it right again

  const lock = (form, button) => {
    const words = [...(button?.childNodes ?? [])];
    const said = document.createElement("p");
    said.className = "visually-hidden";
    said.setAttribute("aria-live", "polite");
    document.body.append(said);
    setTimeout(() => (said.textContent = UNDER_WAY), SAID_AFTER_MS);
    form.setAttribute("aria-busy", "true");
    button?.setAttribute("aria-disabled", "true"); // one that is disabled would not say in the form which it was
    button?.replaceChildren(UNDER_WAY);
    sent.set(form, () => {
      said.remove();
      form.removeAttribute("aria-busy");
      button?.removeAttribute("aria-disabled");
      button?.replaceChildren(...words);
    });
  };

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || form.getAttribute("method")?.toLowerCase() !== "post") return;
    if (sent.has(form)) event.preventDefault();
    else lock(form, event.submitter);
  });

  const freeAll = () => {
    for (const free of sent.values()) free();
    sent.clear();
  };

  addEventListener("pageshow", (event) => {
    if (event.persisted) freeAll(); // else it is shown for the first time; a form may be under way by then
  });
  // Whoever presses Stop is left with this page. Browsers that do not tell of it keep the form as it is until a reload.
  globalThis.navigation?.addEventListener("navigateerror", freeAll);
})();
