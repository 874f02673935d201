// The form in which somebody shows a second factor that they have.

import { Refused } from "./api.js";
import { attempt, byId, make, onSubmit, point } from "./dom.js";
import { assert, keysWork } from "./webauthn.js";

const WRONG_CODE = "this code is wrong, or was used before: type the one that the app shows now";
const WRONG_RECOVERY_CODE = "this recovery code is wrong, or was used before";
const WRONG_KEY = "this security key was not accepted";

// Show the form for what is wanted. "send" goes on with {second_factor_code} or
// {webauthn_assertion}, and fails with what the hub says. "renew" fetches what a key is
// asked with, since each is good once.
export function askSecondFactor(place, wanted, { send, renew }) {
  const kinds = wanted.second_factors;
  const hasApp = kinds.includes("totp");
  const hasKey = kinds.includes("webauthn") && Boolean(wanted.webauthn_request) && keysWork();
  let isRecovery = !hasApp;
  let request = wanted.webauthn_request;

  const label = make("label", { for: `${place}-code` });
  const code = make("input", {
    id: `${place}-code`,
    className: "code",
    autocomplete: "one-time-code",
    spellcheck: false,
    maxLength: 40,
    required: true,
  });
  code.setAttribute("autocapitalize", "none");
  const submit = make("button", { type: "submit" }, "Go on");
  const other = make("button", { type: "button", className: "link" });
  const form = make("form", { method: "post" }, label, code, submit);
  const byKey = make("button", { type: "button", className: "wide" }, "Use a security key");
  const parts = [];

  function asked() {
    label.textContent = isRecovery ? "Recovery code" : "Code that the app shows";
    code.inputMode = isRecovery ? "text" : "numeric";
    other.textContent = isRecovery ? "Use a code of the app instead" : "Use a recovery code instead";
  }

  async function sent(proof, sentence) {
    try {
      await send(proof);
    } catch (error) {
      // The password was right before: what is wrong now is the factor.
      if (error instanceof Refused && error.status === 401) {
        throw new Refused(401, error.kind, sentence);
      }
      throw error;
    }
  }

  onSubmit(form, async () => {
    try {
      await sent({ second_factor_code: code.value }, isRecovery ? WRONG_RECOVERY_CODE : WRONG_CODE);
    } catch (error) {
      point(code);
      throw error;
    }
  });
  other.addEventListener("click", () => {
    isRecovery = !isRecovery;
    code.value = "";
    asked();
    code.focus();
  });
  byKey.addEventListener("click", () =>
    attempt(byKey, async () => {
      const options = request || (await renew());
      request = "";
      await sent({ webauthn_assertion: await assert(options) }, WRONG_KEY);
    }),
  );

  asked();
  if (hasKey) {
    parts.push(make("p", {}, byKey));
  }
  if (hasKey && (hasApp || kinds.includes("recovery_code"))) {
    parts.push(make("p", { className: "or" }, "or"));
  }
  if (hasApp || kinds.includes("recovery_code")) {
    parts.push(form);
  }
  if (hasApp && kinds.includes("recovery_code")) {
    parts.push(make("p", {}, other));
  }
  if (!parts.length) {
    parts.push(
      make("p", {}, "Your second factor is a security key, and this browser cannot ask it. Use another browser."),
    );
  }
  byId(place).replaceChildren(...parts);
  (hasKey ? byKey : code).focus();
}
