// The frame's script: requests carry the CSRF token, errors become toasts, keys move about.
"use strict";

window.studio = (() => {
  const words = JSON.parse(document.getElementById("words").textContent);
  const csrf = document.querySelector('meta[name="csrf-token"]').content;

  // Words of the page's language, from the group `js` of the catalogue.
  const t = (key, values = {}) =>
    words[key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));

  // A short message at the corner; faults stay until they are clicked away.
  function toast(text, kind = "") {
    const box = document.createElement("div");
    box.className = `toast ${kind}`;
    box.textContent = text;
    box.addEventListener("click", () => box.remove());
    document.getElementById("toasts").append(box);
    if (kind !== "fault") setTimeout(() => box.remove(), 4000);
  }

  // POST a form's fields as HTMX does; returns the response, or null after a toast.
  async function post(url, fields) {
    try {
      const answer = await fetch(url, {
        method: "POST",
        headers: { "X-CSRF-Token": csrf },
        body: fields instanceof URLSearchParams ? fields : new URLSearchParams(fields),
      });
      if (answer.ok) return answer;
      toast((await answer.text()) || t("failed"), "fault");
    } catch {
      toast(t("unreachable"), "fault");
    }
    return null;
  }

  // A colour of the style sheet as canvas understands it, in the theme that is on.
  function colour(name) {
    const probe = document.createElement("span");
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }

  document.addEventListener("htmx:configRequest", (event) => {
    event.detail.headers["X-CSRF-Token"] = csrf;
  });
  // A form that HTMX has not reached yet does nothing, where the browser would leave the page.
  document.addEventListener(
    "submit",
    (event) => {
      if (event.target.matches("[hx-post], [hx-get]")) event.preventDefault();
    },
    true,
  );
  document.addEventListener("htmx:responseError", (event) => {
    toast(event.detail.xhr.responseText || t("failed"), "fault");
  });
  document.addEventListener("htmx:sendError", () => toast(t("unreachable"), "fault"));

  // Keys ------------------------------------------------------------------------------------

  const typing = (node) =>
    node.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(node.tagName);
  const shown = (node) => node.offsetParent !== null;
  const rows = () => [...document.querySelectorAll("[data-rows] [data-row]")].filter(shown);

  function move(by) {
    const all = rows();
    if (!all.length) return;
    const now = all.findIndex((row) => row.classList.contains("at"));
    const next = now < 0 ? (by > 0 ? 0 : all.length - 1) : Math.max(0, Math.min(all.length - 1, now + by));
    all.forEach((row, index) => row.classList.toggle("at", index === next));
    all[next].scrollIntoView({ block: "nearest" });
    (all[next].querySelector("a[href]") || all[next]).focus({ preventScroll: true });
  }

  function open() {
    const row = document.querySelector("[data-rows] [data-row].at");
    row?.querySelector("a[href]")?.click();
  }

  let awaits = 0; // until when the letter after `g` is awaited
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (typing(event.target)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (document.querySelector("dialog[open]")) return;
    const key = event.key;
    if (awaits > Date.now()) {
      awaits = 0;
      const link = [...document.querySelectorAll("[data-go]")].find((one) => one.dataset.go === key);
      if (link) return event.preventDefault(), link.click();
    }
    if (key === "g") return void (awaits = Date.now() + 1500);
    if (key === "j" || key === "k") return event.preventDefault(), move(key === "j" ? 1 : -1);
    if (key === "Enter" && event.target === document.body) return open();
    if (key === "/") {
      const box = document.querySelector('input[type="search"]');
      if (box) return event.preventDefault(), box.focus(), box.select();
    }
    // Whatever can be clicked has a key if it says so: data-key="s".
    const node = [...document.querySelectorAll("[data-key]")].find(
      (one) => one.dataset.key === key && shown(one) && !one.disabled,
    );
    if (node) event.preventDefault(), node.click();
  });

  function help() {
    const list = document.querySelector("#keys dl");
    list.textContent = "";
    const add = (keys, words) => {
      const name = document.createElement("dt");
      for (const key of keys.split(" ")) {
        const box = document.createElement("kbd");
        box.textContent = key;
        name.append(box);
      }
      const meaning = document.createElement("dd");
      meaning.textContent = words;
      list.append(name, meaning);
    };
    for (const link of document.querySelectorAll("[data-go]")) {
      add(`g ${link.dataset.go}`, t("keys_go", { page: link.querySelector("span").textContent }));
    }
    if (document.querySelector("[data-rows]")) {
      add("j", t("keys_down"));
      add("k", t("keys_up"));
      add("Enter", t("keys_open"));
    }
    if (document.querySelector('input[type="search"]')) add("/", t("keys_find"));
    const seen = new Set(["?"]);
    for (const node of document.querySelectorAll("[data-key]")) {
      if (seen.has(node.dataset.key) || !shown(node)) continue;
      seen.add(node.dataset.key);
      const plain = node.cloneNode(true);
      plain.querySelectorAll("kbd").forEach((key) => key.remove());
      add(node.dataset.key, node.dataset.keyName || plain.textContent.trim());
    }
    add("?", t("keys_help"));
    document.getElementById("keys").showModal();
  }
  document.querySelector("[data-keys-help]").addEventListener("click", help);

  return { t, toast, post, colour, csrf };
})();
