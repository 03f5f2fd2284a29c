// A link whose page also comes as the inside of a dialog: htmx fetches it into #dialog, this opens it.
"use strict";
(() => {
  const dialog = document.getElementById("dialog");

  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target !== dialog) return;
    if (!dialog.open) dialog.showModal(); // moves the focus to the harmless button, which has autofocus
    dialog.querySelector(".fault")?.closest(".field")?.querySelector("input, select")?.focus();
  });

  dialog.addEventListener("click", (event) => {
    const closes = event.target.closest("[data-close]");
    if (!closes && event.target !== dialog) return; // the dialog itself is hit only beside its content
    event.preventDefault();
    dialog.close();
  });

  dialog.addEventListener("close", () => dialog.replaceChildren());
})();
