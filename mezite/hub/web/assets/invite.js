// An invite: a password, and an app if one is wanted. The token is read from the page's
// own address and goes into bodies only; looking does not use it up.

import { ask } from "./api.js";
import { attempt, byId, hide, onSubmit, point, show, timeText } from "./dom.js";
import { showRecoveryCodes, showTotp } from "./enrolment.js";
import { passwordFields } from "./password.js";
import { askSecondFactor } from "./secondfactor.js";

const FIRST = "/web/account";
const token = decodeURIComponent(location.pathname.split("/").pop());
const form = byId("invite-form");
const code = byId("code");

function accepted(answer) {
  // The invite is of no use now, and has no business in the history.
  history.replaceState(null, "", FIRST);
  hide(form, byId("second-factor"));
  if (!answer.recovery_codes.length) {
    location.replace(FIRST);
    return;
  }
  byId("title").textContent = "You are logged in";
  showRecoveryCodes("codes", answer.recovery_codes, {
    user: answer.user,
    done: () => location.replace(FIRST),
  });
}

async function accept(password, proof) {
  accepted(await ask("POST", "/invite/accept", { token, password, ...proof }));
}

function greet(invite) {
  byId("user").value = invite.user;
  byId("user-name").textContent = invite.user;
  byId("expires").append("The invite works once, and ends ", timeText(invite.expires), ".");
  show(form);
}

function offerApp(invite) {
  showTotp("enrolment-picture", invite.totp);
  show(byId("enrolment"));
  byId("optional").hidden = invite.must_enrol;
  byId("code-optional").hidden = invite.must_enrol;
  code.required = invite.must_enrol;
}

attempt(document.body, async () => {
  let invite;
  try {
    invite = await ask("POST", "/invite", { token });
  } finally {
    hide(byId("loading"));
  }
  greet(invite);
  const read = passwordFields("password-fields", {
    user: invite.user,
    shortest: invite.shortest_password,
  });
  if (invite.totp) {
    offerApp(invite);
  }
  if (invite.second_factor_required) {
    byId("accept").textContent = "Go on";
  }
  byId("new-password").focus();

  onSubmit(form, async () => {
    const password = read();
    if (invite.second_factor_required) {
      hide(form);
      show(byId("second-factor"));
      askSecondFactor("second-factor-form", invite, {
        send: async (proof) => {
          try {
            await accept(password, proof);
          } catch (error) {
            if (error.status === 400) {
              // It is the password that is not accepted.
              hide(byId("second-factor"));
              show(form);
              point(byId("new-password"));
            }
            throw error;
          }
        },
        renew: async () => (await ask("POST", "/invite", { token })).webauthn_request,
      });
      return;
    }
    const proof = code.value.trim();
    try {
      await accept(password, proof ? { second_factor_code: proof } : {});
    } catch (error) {
      const isCode = error.status === 400 && proof && /code/.test(error.message);
      point(isCode ? code : byId("new-password"));
      throw error;
    }
  });
});
