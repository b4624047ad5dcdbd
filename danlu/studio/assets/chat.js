// A conversation: answers appear as they come, Enter sends, Escape stops.
"use strict";

(() => {
  const composer = document.getElementById("composer");
  const text = document.getElementById("text");
  const stop = document.getElementById("stop");
  const talk = () => document.getElementById("talk");
  let events = null, listened = "";

  const atEnd = () => innerHeight + scrollY > document.documentElement.scrollHeight - 120;
  const toEnd = () => scrollTo(0, document.documentElement.scrollHeight);

  // Show the talk as it is: with a stream while answers are under way.
  function look() {
    const going = talk().hasAttribute("data-going");
    stop.hidden = !going;
    document.getElementById("send").hidden = going;
    if (!going) return close();
    if (listened !== talk().dataset.run) listen();
  }

  function close() {
    events?.close();
    events = null;
    listened = "";
  }

  function listen() {
    close();
    listened = talk().dataset.run;
    events = new EventSource(`/chat/live/${talk().dataset.talk}`);
    events.addEventListener("message", (event) => {
      const { seat, at, text: piece } = JSON.parse(event.data);
      const node = document.querySelector(`[data-seat="${seat}"]`);
      const follows = atEnd();
      // The first piece of a stream is all that there is so far.
      node.textContent = at ? node.textContent + piece : piece;
      if (follows) toEnd();
    });
    events.addEventListener("end", () => {
      close();
      const follows = atEnd();
      htmx
        .ajax("GET", `/chat/part/${talk().dataset.talk}`, { target: "#talk", swap: "outerHTML" })
        .then(() => follows && toEnd());
    });
  }

  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id === "talk") look();
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.elt !== composer || !event.detail.successful) return;
    text.value = "";
    toEnd();
  });
  text.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      if (stop.hidden) composer.requestSubmit();
    }
    if (event.key === "Escape" && !stop.hidden) stop.click();
  });
  // What a key has opened is in sight, and is written into at once.
  document.addEventListener("toggle", (event) => {
    if (!event.target.open) return;
    event.target.scrollIntoView({ block: "nearest" });
    event.target.querySelector("textarea, input:not([type=hidden])")?.focus({ preventScroll: true });
  }, true);
  addEventListener("pagehide", close);
  look();
  if (talk().querySelector(".exchange")) toEnd();
})();
