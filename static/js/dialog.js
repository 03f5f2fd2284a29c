// A link whose page also comes as the inside of a dialog: htmx fetches it into #dialog, this opens it.
"use strict";
(() => {
  const dialog = document.getElementById("dialog");

  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target === dialog && !dialog.open) dialog.showModal(); // the focus goes to what has autofocus
  });

  dialog.addEventListener("click", (event) => {
    const closes = event.target.closest("[data-close]");
    if (!closes && event.target !== dialog) return; // the dialog itself is hit only beside its content
    event.preventDefault();
    dialog.close();
  });

  dialog.addEventListener("close", () => dialog.replaceChildren());
})();
