// What an app needs to know, and the recovery codes that come with a first factor.

import { byId, copyButton, make } from "./dom.js";

// The QR code, the secret for typing, and a link for an app on this very device.
export function showTotp(place, totp) {
  const svg = totp.qr_svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"');
  const picture = make("img", {
    src: "data:image/svg+xml," + encodeURIComponent(svg),
    alt: "QR code for the app; the secret is beside it as text",
    className: "qr",
  });
  const secret = totp.secret.replaceAll(" ", "");
  const groups = secret.match(/.{1,4}/g).join(" ");
  byId(place).replaceChildren(
    make(
      "div",
      { className: "enrolment" },
      picture,
      make(
        "div",
        {},
        make("p", {}, "Scan the picture with the app, or type this secret into it:"),
        make("p", {}, make("code", { id: "totp-secret", className: "secret" }, groups)),
        make("p", { className: "buttons" }, copyButton(secret, "Copy the secret")),
        make("p", {}, make("a", { href: totp.uri }, "Open in an app on this device")),
      ),
    ),
  );
}

// The codes, which the hub does not show again; "done" once somebody has kept them.
export function showRecoveryCodes(place, codes, { user, done }) {
  const text = codes.join("\n") + "\n";
  const file = new Blob([`Recovery codes of ${user} at ${location.host}\n\n${text}`], { type: "text/plain" });
  const link = make(
    "a",
    {
      className: "button quiet small",
      href: URL.createObjectURL(file),
      download: `recovery-codes-${user}.txt`,
    },
    "Download",
  );
  const list = make("ul", { id: "recovery-codes", className: "codes" });
  list.append(...codes.map((each) => make("li", {}, make("code", {}, each))));
  const kept = make("input", { type: "checkbox", id: "kept", required: true });
  const form = make(
    "form",
    { method: "post" },
    make("label", { className: "check", for: "kept" }, kept, "I have kept these codes"),
    make("button", { type: "submit" }, "Go on"),
  );
  const title = make("h2", { tabIndex: -1 }, "Your recovery codes");
  const box = make(
    "div",
    { className: "box" },
    title,
    make(
      "p",
      {},
      "Each of them lets you in once, without the app or the security key. Keep them where you keep" +
        " spare keys: they are not shown again.",
    ),
    list,
    make("p", { className: "buttons" }, copyButton(text), link),
    form,
  );

  const warn = (event) => event.preventDefault();
  window.addEventListener("beforeunload", warn);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    window.removeEventListener("beforeunload", warn);
    URL.revokeObjectURL(link.href);
    byId(place).replaceChildren();
    done();
  });
  byId(place).replaceChildren(box);
  byId(place).hidden = false;
  title.focus();
  box.scrollIntoView({ block: "start" });
}
