// A link whose page also comes as the inside of a dialog: htmx fetches it into #dialog, this opens it.
"use strict";
(() => {
  const dialog = document.getElementById("dialog");

  const answeredInPage = new WeakSet(); // what was asked in the dialog; told before what is replaced is in no page

  document.addEventListener("htmx:beforeSwap", (event) => {
    const { target, requestConfig, xhr } = event.detail;
    if (dialog.contains(requestConfig?.elt) && !dialog.contains(target)) answeredInPage.add(xhr);
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    const { target, xhr } = event.detail;
    if (target === dialog && !dialog.open) dialog.showModal(); // the focus goes to what has autofocus
    if (answeredInPage.has(xhr)) dialog.close(); // what it did stands in the page
  });

  dialog.addEventListener("click", (event) => {
    const closes = event.target.closest("[data-close]");
    if (!closes && event.target !== dialog) return; // the dialog itself is hit only beside its content
    event.preventDefault();
    dialog.close();
  });

  dialog.addEventListener("close", () => {
    if (!dialog.open) dialog.replaceChildren(); // it is told with the next frame; by then it may be open for something else
  });
})();
