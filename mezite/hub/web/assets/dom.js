// What every page does with its document. Text becomes text, and never markup.

import { Refused } from "./api.js";

export function byId(id) {
  return document.getElementById(id);
}

// An element with these properties; "data" and "aria-…" are attributes.
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for") {
      element.setAttribute(name, value);
    } else {
      element[name] = value;
    }
  }
  element.append(...children);
  return element;
}

export function show(...elements) {
  for (const element of elements) {
    element.hidden = false;
  }
}

export function hide(...elements) {
  for (const element of elements) {
    element.hidden = true;
  }
}

// Tell that something failed, or that it was done. It stays in sight: see the style.
export function sayProblem(sentence) {
  byId("notice").textContent = "";
  // What is behind an open dialog is neither seen well nor read aloud.
  const place = document.querySelector("dialog[open] [role=alert]") ?? byId("message");
  place.textContent = asSentence(sentence);
}

export function sayDone(sentence) {
  byId("message").textContent = "";
  byId("notice").textContent = asSentence(sentence);
}

function asSentence(text) {
  const ended = !text || /[.!?…]$/.test(text) ? text : text + ".";
  return ended ? ended[0].toUpperCase() + ended.slice(1) : "";
}

// A mistake in what was typed; the field is shown.
export class Mistake extends Error {
  constructor(sentence, field) {
    super(sentence);
    this.field = field;
  }
}

// Somebody would rather not; nothing need be said about it.
export class Cancelled extends Error {}

// Do the work of a form or button once at a time, and tell what it fails with.
export async function attempt(element, work) {
  if (element.getAttribute("aria-busy") === "true") {
    return;
  }
  element.setAttribute("aria-busy", "true");
  sayProblem("");
  for (const field of document.querySelectorAll("[aria-invalid]")) {
    field.removeAttribute("aria-invalid");
  }
  try {
    await work();
  } catch (error) {
    if (error instanceof Cancelled) {
      return;
    }
    if (error instanceof Mistake) {
      point(error.field);
    } else if (!(error instanceof Refused)) {
      console.error(error);
    }
    const isKnown = error instanceof Mistake || error instanceof Refused;
    sayProblem(isKnown ? error.message : "this page failed; reload it and try again");
  } finally {
    element.removeAttribute("aria-busy");
  }
}

// Lead somebody to the field that is wrong.
export function point(field) {
  field.setAttribute("aria-invalid", "true");
  field.focus();
  field.select?.();
}

export function onSubmit(form, work) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(form, work);
  });
}

export function onClick(button, work) {
  button.addEventListener("click", () => attempt(button, work));
}

// Copy, and say so on the button for a moment.
export function copyButton(text, what = "Copy") {
  const button = make("button", { type: "button", className: "quiet small" }, what);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed to copy";
    }
    setTimeout(() => (button.textContent = what), 2000);
  });
  return button;
}

const dateAndTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const ago = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const UNITS = [
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
];

// A time in POSIX seconds, as people say it, with the exact one behind it.
export function timeText(seconds) {
  const date = new Date(seconds * 1000);
  const past = seconds - Date.now() / 1000;
  const [unit, length] = UNITS.find(([, each]) => Math.abs(past) >= each) ?? ["second", 1];
  const text = unit === "second" && past <= 0 ? "just now" : ago.format(Math.round(past / length), unit);
  return make("time", { dateTime: date.toISOString(), title: dateAndTime.format(date) }, text);
}
