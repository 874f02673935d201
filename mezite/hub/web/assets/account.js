// The account: who somebody is, their second factors, and their password.

import { call, Refused, session } from "./api.js";
import { attempt, byId, hide, make, onClick, onSubmit, point, sayDone, show, timeText } from "./dom.js";
import { showRecoveryCodes, showTotp } from "./enrolment.js";
import { changePassword, passwordFields } from "./password.js";
import { callProved } from "./proof.js";
import { keysWork, register } from "./webauthn.js";

const POLICIES = {
  off: "This cluster uses no second factors.",
  optional: "With one, a stolen password is not enough to be you.",
  required: "This cluster requires one of everybody.",
};

let who;

function showWho() {
  const facts = [
    ["User", who.name],
    ["Roles", who.roles.join(", ") || "none"],
    ["Logins of your own", who.logins.join(", ") || "none"],
  ];
  if (who.is_admin) {
    facts.push(["Rights", "administrator"]);
  } else if (who.is_auditor) {
    facts.push(["Rights", "auditor"]);
  }
  byId("who").replaceChildren(
    ...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]),
  );
}

// Ask before something is lost.
function sure(title, text, action) {
  const dialog = byId("sure");
  byId("sure-title").textContent = title;
  byId("sure-text").textContent = text;
  byId("sure-yes").textContent = action;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }),
  );
}

function factorRow(name, details, remove) {
  const button = make("button", { type: "button", className: "quiet small", "aria-label": `Remove ${name}` }, "Remove");
  onClick(button, remove);
  return make("li", {}, make("div", {}, make("strong", {}, name), make("div", { className: "soft" }, ...details)), button);
}

function appRow(factor) {
  return factorRow("Authenticator app", ["added ", timeText(factor.created)], async () => {
    const text = "Its codes are refused from then on. Remove the entry from the app as well.";
    if (await sure("Remove the authenticator app?", text, "Remove it")) {
      await callProved("DELETE", "/factors/totp");
      await showFactors();
      byId("factors-title").focus();
      sayDone("the app was removed");
    }
  });
}

function keyRow(factor) {
  const used = factor.last_used ? [", used ", timeText(factor.last_used)] : [", never used"];
  return factorRow(factor.name, ["security key, added ", timeText(factor.created), ...used], async () => {
    if (await sure(`Remove ${factor.name}?`, "The key does not let you in from then on.", "Remove it")) {
      await callProved("DELETE", "/factors/webauthn/" + encodeURIComponent(factor.id));
      await showFactors();
      byId("factors-title").focus();
      sayDone("the security key was removed");
    }
  });
}

async function showFactors() {
  const answer = await call("GET", "/factors");
  const factors = answer.second_factors;
  const hasApp = factors.some((each) => each.kind === "totp");
  const rows = factors.map((each) => (each.kind === "totp" ? appRow(each) : keyRow(each)));
  if (factors.length) {
    const left = answer.recovery_codes_left;
    const name = left === 1 ? "1 recovery code left" : `${left} recovery codes left`;
    rows.push(make("li", {}, make("div", {}, make("strong", {}, name))));
  }
  byId("factors").replaceChildren(...rows);
  byId("policy").textContent =
    (factors.length ? "" : "You have none. ") + (POLICIES[answer.policy] ?? "");
  const isOff = answer.policy === "off";
  byId("add-totp").textContent = hasApp ? "Replace the app" : "Set up an app";
  byId("add-totp").hidden = isOff;
  byId("replaces").hidden = !hasApp;
  byId("new-codes").hidden = isOff || !factors.length;
  byId("key-form").hidden = isOff || !keysWork();
}

function showCodes(codes) {
  if (!codes.length) {
    byId("factors-title").focus();
  } else {
    showRecoveryCodes("codes", codes, { user: who.name, done: () => byId("factors-title").focus() });
  }
}

function endEnrolment() {
  hide(byId("enrolment"));
  byId("enrolment-picture").replaceChildren();
  byId("code").value = "";
  show(byId("factor-buttons"));
}

onClick(byId("add-totp"), async () => {
  const { totp } = await callProved("POST", "/factors/totp", {});
  showTotp("enrolment-picture", totp);
  show(byId("enrolment"));
  hide(byId("factor-buttons"));
  byId("enrolment-title").focus();
});
byId("cancel-totp").addEventListener("click", () => {
  endEnrolment();
  byId("add-totp").focus();
});
onSubmit(byId("totp-form"), async () => {
  let answer;
  try {
    answer = await callProved("POST", "/factors/totp/confirm", { code: byId("code").value });
  } catch (error) {
    if (error instanceof Refused) {
      point(byId("code"));
    }
    throw error;
  }
  endEnrolment();
  await showFactors();
  sayDone("the app is your second factor now");
  showCodes(answer.recovery_codes);
});

onClick(byId("new-codes"), async () => {
  const text = "Those that you have now are worth nothing from then on.";
  if (await sure("Make new recovery codes?", text, "Make new ones")) {
    const answer = await callProved("POST", "/factors/recovery-codes", {});
    await showFactors();
    showCodes(answer.recovery_codes);
  }
});

onSubmit(byId("key-form"), async () => {
  const { creation_options: options } = await callProved("POST", "/factors/webauthn", {});
  const credential = await register(options);
  const name = byId("key-name").value;
  const answer = await callProved("POST", "/factors/webauthn/confirm", { credential, name });
  byId("key-form").reset();
  await showFactors();
  sayDone(`the security key ${answer.second_factor.name} was added`);
  showCodes(answer.recovery_codes);
});

attempt(document.body, async () => {
  who = await session();
  showWho();
  byId("user").value = who.name;
  byId("proof-user").value = who.name;
  const read = passwordFields("change-fields", { user: who.name });
  onSubmit(byId("change-form"), () =>
    changePassword({
      user: who.name,
      old: byId("old-password").value,
      password: read(),
      place: "second-factor-form",
      wants: (isFactor) => {
        byId("change-form").hidden = isFactor;
        byId("second-factor").hidden = !isFactor;
        byId("another-code").hidden = !isFactor;
      },
      done: () => location.replace("/web/login?changed=1"),
    }),
  );
  await showFactors();
});
