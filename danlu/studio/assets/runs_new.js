// The form of a new run: fields by a word, fields that are set, textareas as high as their text.
"use strict";

(() => {
  const filled = (field) => field.querySelector("input, select, textarea").value.trim() !== "";

  function filter() {
    const words = (document.querySelector("[data-filter]")?.value || "").toLowerCase().split(/\s+/);
    const only = document.querySelector("[data-only-set]")?.checked;
    const narrowed = only || words.some((word) => word);
    for (const field of document.querySelectorAll("[data-field]")) {
      const fits = words.every((word) => field.dataset.field.includes(word));
      field.hidden = !fits || (only && !filled(field));
    }
    for (const section of document.querySelectorAll(".fields details")) {
      const some = [...section.querySelectorAll("[data-field]")].some((one) => !one.hidden);
      section.hidden = !some;
      if (narrowed && some) section.open = true;
    }
  }

  document.addEventListener("input", (event) => {
    if (event.target.matches("[data-filter]")) filter();
    const field = event.target.closest("[data-field]");
    if (field) field.classList.toggle("set", filled(field));
    if (event.target.matches("textarea")) {
      event.target.rows = Math.min(26, Math.max(1, event.target.value.split("\n").length));
    }
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-only-set]")) filter();
    if (event.target.matches("[data-go-change]")) event.target.form.submit();
  });
  // A link to a field opens its section and puts the cursor there.
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#f-"]');
    if (!link) return;
    event.preventDefault();
    const field = document.getElementById(link.getAttribute("href").slice(1));
    field.closest("details")?.setAttribute("open", "");
    field.focus();
  });
  // The search box and the switch say nothing of the recipe.
  document.addEventListener("htmx:configRequest", (event) => {
    if (event.target.matches?.("[data-filter], [data-only-set]")) event.preventDefault();
  });
})();
